"""What the probes ask: whether this process lives, and whether it serves."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

Statuses = Mapping[str, bool]


@dataclass(frozen=True)
class Probes:
    """Two questions to the server.

    Attributes:
        alive: the engine runs, or is not there yet.
        serving: whether each service is, by the names of `SERVICE_TASKS`; "" is the server as a whole.
        state: "loading", "serving" or "stopping".
    """

    alive: Callable[[], bool]
    serving: Callable[[], Awaitable[Statuses]]
    state: Callable[[], str]


async def liveness(probes: Probes) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status of /healthz, and what it says; that it is answered at all says that the event loop runs."""
    alive = probes.alive()
    return (200 if alive else 503), {"alive": alive, "engine": "running" if alive else "ended"}


async def readiness(probes: Probes, service: str) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status of /readyz, and what it says.

    Args:
        probes: whom to ask.
        service: "" asks for all.

    Raises:
        KeyError: this server has no such service.
    """
    statuses = await probes.serving()
    asked = {service: statuses[service]} if service else {name: serves for name, serves in statuses.items() if name}
    ready = all(asked.values()) and statuses[""] and probes.state() == "serving"
    words = {name: "serving" if serves else "not serving" for name, serves in asked.items()}
    return (200 if ready else 503), {"ready": ready, "state": probes.state(), "services": words}
