"""What is to be measured: the settings that hold throughout, and the points of a sweep."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from beamstep.bench.errors import BadInput

MOST_CHANNELS: Final = 128
CHOICE: Final = re.compile(r"\{([^{}]*)\}")


class Protocol(StrEnum):
    """What is spoken to the server."""

    TYPED = "typed"
    KSERVE = "kserve"


@dataclass(frozen=True)
class Settings:
    """What holds for every point.

    Attributes:
        protocol: what is spoken to the server.
        model: for requests that name none; "" leaves it to the server.
        tensor: the KServe input that a request goes into; "" finds it.
        stream: ask for answers in parts.
        arrivals: poisson, constant, or the name of a recording; of an open loop.
        warm_up_s: what is due before this does not count.
        duration_s: how long what counts takes.
        windows: in how many parts it is looked at.
        repeats: how often each point is measured.
        seed: of arrivals and of the choice among requests.
        processes: that send.
        channels: connections of each.
        objective_ms: an answer within this is a good one; None calls all good.
        timeout_s: of one call.
    """

    protocol: Protocol = Protocol.TYPED
    model: str = ""
    tensor: str = ""
    stream: bool = False
    arrivals: str = "poisson"
    warm_up_s: float = 2.0
    duration_s: float = 10.0
    windows: int = 5
    repeats: int = 3
    seed: int = 0
    processes: int = 1
    channels: int = 4
    objective_ms: float | None = None
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        bounds = {
            "warm-up": (self.warm_up_s, self.warm_up_s >= 0, "from 0 s"),
            "duration": (self.duration_s, self.duration_s > 0, "above 0 s"),
            "windows": (self.windows, self.windows >= 1, "from 1"),
            "repeats": (self.repeats, self.repeats >= 1, "from 1"),
            "seed": (self.seed, self.seed >= 0, "from 0"),
            "processes": (self.processes, self.processes >= 1, "from 1"),
            "channels": (self.channels, 1 <= self.channels <= MOST_CHANNELS, f"from 1 to {MOST_CHANNELS}"),
            "objective-ms": (self.objective_ms, self.objective_ms is None or self.objective_ms > 0, "above 0"),
        }
        for name, (given, fits, allowed) in bounds.items():
            if not fits:
                raise BadInput(f"--{name}: {given}; allowed: {allowed}")
        if self.stream and self.protocol is Protocol.KSERVE:
            raise BadInput("--stream: given with --protocol kserve; allowed: with typed alone")
        if self.tensor and self.protocol is Protocol.TYPED:
            raise BadInput(f"--tensor: {self.tensor!r}; allowed: with --protocol kserve alone")

    def as_json(self) -> dict[str, Any]:
        """Return what a file says of them."""
        return asdict(self)


@dataclass(frozen=True)
class Point:
    """One of the loads of a sweep.

    Attributes:
        rate: requests a second of an open loop; None in a closed one, or for a recording as it is.
        concurrency: clients of a closed loop; None for an open one.
        beam_size: instead of the requests' own; None leaves them.
        serve: the options of the server's own; "" for one that was there.
    """

    rate: float | None = None
    concurrency: int | None = None
    beam_size: int | None = None
    serve: str = ""

    @property
    def load(self) -> str:
        """Say how much is asked for."""
        if self.concurrency is not None:
            return f"{self.concurrency} client{'s' * (self.concurrency != 1)}"
        return "as recorded" if self.rate is None else per_second(self.rate)

    def __str__(self) -> str:
        beam = "" if self.beam_size is None else f", beam {self.beam_size}"
        return self.load + beam + (f", {self.serve}" if self.serve else "")


def sweep(
    rates: Sequence[float], clients: Sequence[float], beams: Sequence[float], *, recorded: bool = False
) -> list[Point]:
    """Return every load with every beam, but for what serves them.

    Args:
        rates: of open loops, requests a second.
        clients: of closed loops.
        beams: none leaves the requests' own.
        recorded: whether arrivals are replayed, so that no rate is needed.

    Raises:
        BadInput: both kinds of loops were asked for, or none; or a number is not allowed.
    """
    if rates and clients:
        raise BadInput("--rate and --concurrency: both given; allowed: one of them")
    if not (rates or clients or recorded):
        raise BadInput("--rate and --concurrency: none given; allowed: one of them, or --arrivals FILE")
    _check("rate", rates, lambda number: number > 0, "above 0")
    for name, given in (("concurrency", clients), ("beam", beams)):
        _check(name, given, lambda number: number >= 1 and number == int(number), "whole numbers from 1")
    loads = [Point(concurrency=int(number)) for number in clients] or [Point(rate=rate) for rate in rates] or [Point()]
    return [replace(load, beam_size=int(beam)) for beam in beams for load in loads] or loads


def labels(points: Sequence[Point]) -> dict[Point, str]:
    """Return what each point is called among the others: of the options of servers, only those that differ."""
    words = {point: _words(point.serve) for point in points}
    shared = set.intersection(*(set(found) for found in words.values()))
    differing = {point: " ".join(word for word in found if word not in shared) for point, found in words.items()}
    return {point: str(replace(point, serve=differing[point])) for point in points}


def per_second(rate: float) -> str:
    """Return a rate with four digits that say something, without a power of ten."""
    return f"{float(f'{rate:.4g}'):.10g}/s"


def numbers(option: str, given: str) -> list[float]:
    """Read numbers with commas between. BadInput names the option."""
    try:
        return [float(number) for number in given.split(",") if given]
    except ValueError:
        raise BadInput(f"--{option}: {given!r}; allowed: numbers with commas between, such as 50,100,200") from None


def variants(serve: Sequence[str]) -> Iterator[str]:
    """Yield the options of each server: every choice `{1,2}` is taken in turn, several of them in every combination."""
    for options in serve:
        parts = CHOICE.split(options)
        choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
        yield from map("".join, itertools.product(*choices))


def _words(serve: str) -> list[str]:
    """Return the options of a server, each with what is behind it up to the next one."""
    return [f"--{option.strip()}" for option in f" {serve}".split(" --") if option.strip()]


def _check(option: str, given: Sequence[float], fits: Any, allowed: str) -> None:
    for number in given:
        if not fits(number):
            raise BadInput(f"--{option}: {number:g}; allowed: {allowed}")
