"""One point, measured once: from what is to be asked to what came of it."""

from dataclasses import dataclass
from typing import Any

from beamstep.bench import arrivals
from beamstep.bench.arrivals import Times
from beamstep.bench.contact import contact, describe_server, prepare_all
from beamstep.bench.errors import BadInput
from beamstep.bench.generators import Generators, Job
from beamstep.bench.plan import Point, Settings
from beamstep.bench.prepared import Prepared
from beamstep.bench.record import Run
from beamstep.bench.workload import Workload
from beamstep.channel import Endpoint


@dataclass(frozen=True)
class Bench:
    """All that does not change from point to point of one server.

    Attributes:
        settings: what was chosen.
        workload: what is asked.
        recorded: arrivals to replay; None draws or counts them.
        endpoint: the server.
        server: what it said of its models.
        calls: what is sent, by beam size.
        generators: who sends it.
    """

    settings: Settings
    workload: Workload
    recorded: Times | None
    endpoint: Endpoint
    server: list[dict[str, Any]]
    calls: dict[int | None, tuple[Prepared, ...]]
    generators: Generators

    def measure(self, point: Point, repeat: int) -> Run:
        """Measure a point. BadInput where its arrivals leave nothing to measure; errors of `Generators.run`."""
        settings = self.settings
        count = min(len(self.generators), point.concurrency or len(self.generators))
        seconds = settings.duration_s
        loads: list[Times | int]
        if point.concurrency is not None:
            loads = [point.concurrency // count + (place < point.concurrency % count) for place in range(count)]
        else:
            due, seconds = schedule(settings, point.rate, self.recorded, settings.seed + repeat)
            loads = [due[place::count] for place in range(count)]
        jobs = [
            Job(
                endpoint=self.endpoint,
                calls=self.calls[point.beam_size],
                load=load,
                warm_up_s=settings.warm_up_s,
                seconds=seconds,
                windows=settings.windows,
                objective_s=None if settings.objective_ms is None else settings.objective_ms / 1e3,
                seed=(settings.seed + repeat, place),
                channels=settings.channels,
                timeout_s=settings.timeout_s,
            )
            for place, load in enumerate(loads)
        ]
        workload = {"name": self.workload.name, "sha256": self.workload.sha256, "items": len(self.workload.items)}
        told = {**settings.as_json(), "address": self.endpoint.address, "workload": workload}
        return Run(point, repeat, told, self.server, seconds, self.generators.run(jobs))


def schedule(settings: Settings, rate: float | None, recorded: Times | None, seed: int) -> tuple[Times, float]:
    """Return when requests are due, the warm-up first, and how long what counts takes.

    Raises:
        BadInput: a recording is over before the warm-up is, or nothing is due in what counts.
    """
    seconds, whole_s = settings.duration_s, settings.warm_up_s + settings.duration_s
    if recorded is not None:
        due = arrivals.replay(recorded, rate, whole_s)
        last = float(arrivals.replay(recorded, rate, float("inf"))[-1])
        seconds = min(seconds, last - settings.warm_up_s)
        if seconds <= 0:
            raise BadInput(f"--warm-up: {settings.warm_up_s:g} s; allowed: less than the recording's {last:g} s")
        return due, seconds
    assert rate is not None
    evenly = settings.arrivals == arrivals.Kind.CONSTANT
    due = arrivals.constant(rate, whole_s) if evenly else arrivals.poisson(rate, whole_s, seed)
    if not (due >= settings.warm_up_s).any():
        raise BadInput(f"--duration: {seconds:g} s at {rate:g} requests a second; allowed: enough for one request")
    return due, seconds


def prepare_bench(
    endpoint: Endpoint,
    settings: Settings,
    workload: Workload,
    *,
    recorded: Times | None,
    beams: set[int | None],
    generators: Generators,
) -> Bench:
    """Ask a server what it has, and try a request with every beam, before anything is measured on it.

    Raises:
        BadInput: a request cannot be made.
        ServiceError: the server is not there, or refuses the request.
    """
    with contact(endpoint, settings.timeout_s) as server:
        models = describe_server(server, settings, workload)
        calls = {beam: prepare_all(server, settings, workload, beam) for beam in beams}
    return Bench(settings, workload, recorded, endpoint, models, calls, generators)
