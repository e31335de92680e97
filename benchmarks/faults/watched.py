"""A server that lets itself be looked at, in a process of its own: python -m benchmarks.faults.watched '{"models": "models"}'.

It is started as `beamstep serve` starts it, says its port in a line on stdout, and what it holds in one more for every line on
stdin. It ends by SIGTERM, or when its stdin ends: with whoever started it.
"""

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import serving.process
from serving.calls.acceptors import TAKING
from serving.config import ServerConfig
from serving.repository.config import RepositoryConfig
from serving.repository.policy import VersionPolicy
from serving.runtime.config import SessionConfig
from serving.scheduler import Limits
from serving.server import OpenModel, Server
from serving.session import OnnxModel

ENDS: Final = ("finished", "cancelled", "expired", "displaced", "failed")
"""The engine's counters of how requests end."""


@dataclass(frozen=True)
class Setup:
    """What to serve, as one process tells the other in JSON.

    Attributes:
        models: the folder of bundles; planned models are written where there is none.
        kind: "shipped" serves the folder on ONNX Runtime; "planned" tests/fakes' models that echo, "troubled" some that fail too.
        port: 0 takes any free one.
        services: those to offer; None all there are bundles for.
        prefer: bundles that answer where a request names none.
        grace_s: as in ServerConfig.
        limits: those that are not the default, by name.
        step_s: how long a step of planned models takes.
        watch: whether the folder is watched, the latest version of each model served, and AdminService offered.
    """

    models: str
    kind: str = "shipped"
    port: int = 0
    services: list[str] | None = None
    prefer: list[str] = field(default_factory=list)
    grace_s: float = 10.0
    limits: dict[str, int] = field(default_factory=dict)
    step_s: float = 0.0
    watch: bool = False

    def config(self) -> ServerConfig:
        """Return the server's configuration."""
        return ServerConfig(
            Path(self.models),
            host="127.0.0.1",
            port=self.port,
            services=None if self.services is None else tuple(self.services),
            preferred=tuple(self.prefer),
            session=SessionConfig(step_threads=1, spinning=False),
            engine_threads=2,
            limits=Limits(**self.limits),
            grace_s=self.grace_s,
            repository=RepositoryConfig(VersionPolicy(latest=1), admin=True, watch=True, watch_interval_s=0.1)
            if self.watch
            else RepositoryConfig(),
        )


@dataclass(frozen=True)
class Look:
    """What a server holds at a moment.

    Attributes:
        requests: taken by the engine and not over yet, in lanes that are leaving too.
        rows: of all running batches.
        tasks: of the event loop, but for those that wait for a call, of which a full queue leaves more behind.
        threads: those that Python started.
        native_threads: of the process, those of gRPC and ONNX Runtime among them.
        descriptors: open files and sockets.
        resident_bytes: of memory.
        peak_bytes: the most memory there ever was.
        counters: the engine's.
    """

    requests: int
    rows: int
    tasks: int
    threads: int
    native_threads: int
    descriptors: int
    resident_bytes: int
    peak_bytes: int
    counters: dict[str, int]

    @property
    def mebibytes(self) -> float:
        """Return the memory held."""
        return self.resident_bytes / 2**20


class WatchedServer(Server):
    """Answers every line on stdin with what it holds."""

    async def load(self) -> None:
        """Load the models, then say the port."""
        await super().load()
        asyncio.get_running_loop().add_reader(0, self._asked)
        _say({"port": self.port})

    def _asked(self) -> None:
        asked = os.read(0, 4096)
        if not asked:  # whoever started this is gone
            asyncio.get_running_loop().remove_reader(0)
            os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(asked.count(b"\n")):
            _say(asdict(self._look()))

    def _look(self) -> Look:
        engine = self.engine
        assert engine is not None
        gc.collect()
        counters = engine.counters.as_dict()
        loads = []
        for key in engine.models:
            with suppress(KeyError):  # it has just left
                loads.append(engine.load(key))
        status = Path("/proc/self/status").read_text(encoding="ascii")
        entries = dict(line.split(":", 1) for line in status.splitlines())
        return Look(
            requests=counters["submitted"] - sum(counters[how] for how in ENDS),
            rows=sum(load.running_rows for load in loads),
            tasks=sum(not task.get_name().startswith(TAKING) for task in asyncio.all_tasks()),
            threads=sum(not isinstance(thread, threading._DummyThread) for thread in threading.enumerate()),
            native_threads=int(entries["Threads"]),
            descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names alone
            resident_bytes=int(entries["VmRSS"].split()[0]) * 1024,
            peak_bytes=int(entries["VmHWM"].split()[0]) * 1024,
            counters=counters,
        )


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def run(setup: Setup, open_model: OpenModel) -> None:
    """Serve until told to stop, letting everyone look."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    vars(serving.process)["Server"] = WatchedServer  # `serve` shall make one of these
    asyncio.run(serving.process.serve(setup.config(), open_model))


if __name__ == "__main__":
    run(Setup(**json.loads(sys.argv[1])), OnnxModel)
