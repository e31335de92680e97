"""The loads of the tables: `beamstep bench`'s own generators, told what to send to whom, and what came of it as figures."""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from beamstep.bench import arrivals
from beamstep.bench.generators import Generators, Job
from beamstep.bench.prepared import Prepared, prepare
from beamstep.bench.tally import Tally
from beamstep.bench.workload import Item
from beamstep.channel import Endpoint, RetryPolicy
from beamstep.v1.decoding_pb2 import DecodingOptions
from benchmarks.peers.table import NotMeasuredError

WARM_SHARE: Final = 0.25
"""What comes in this share of a load's seconds, before them, does not count."""
TIMEOUT_S: Final = 600.0
"""Of one call: a slow side shall give a slow figure and no error."""
FEW_ANSWERS: Final = 0.1
LONGER: Final = (1, 4, 16)
MANY: Final = 32
CHANNELS: Final = 4
"""Connections, which a server of several processes is not sure to have shared out evenly."""


class LoadError(NotMeasuredError):
    """Calls failed, or none was answered in time, so that the figures say nothing."""


class NothingAsked(LoadError):  # noqa: N818 - named by what it is, STYLE.md section 4
    """All clients waited for their first answers until the seconds were over."""


@dataclass(frozen=True)
class Measured:
    """What a load came to.

    Attributes:
        tally: all of it.
        seconds: how long what counts took.
        clients: of a closed loop; None for an open one.
    """

    tally: Tally
    seconds: float
    clients: int | None = None

    @property
    def per_second(self) -> float:
        """Return the answers a second.

        They are counted, unless an answer of a closed loop takes more than a tenth of the seconds: then the seconds hold a few
        batches alone, and one more or less would be much, so it is the clients over the mean latency, which is the same in the long
        run (Little 1961).
        """
        mean_s = self.tally.part("latency").mean_ms / 1e3
        if self.clients is not None and mean_s > FEW_ANSWERS * self.seconds:
            return self.clients / mean_s
        return self.tally.answered / self.seconds

    @property
    def tokens_per_answer(self) -> float:
        """Return the tokens of the best hypotheses, of each answer."""
        return self.tally.tokens / self.tally.part("latency").count

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latency, counted from when a request was due."""
        return self.tally.part("latency").percentile_ms(percent)


class Loads:
    """One process that sends; within `loads`."""

    def __init__(self, generators: Generators) -> None:
        self._generators = generators

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process that sends."""
        return tuple(child.pid for child in multiprocessing.active_children() if child.pid is not None)

    def closed(
        self,
        address: str,
        calls: Sequence[Prepared],
        clients: int,
        seconds: float,
        seed: int = 0,
        *,
        channels: int = CHANNELS,
    ) -> Measured:
        """Keep `clients` requests running, each client sending its next when its last was answered.

        Where all still waited for their first answers when the seconds were over, it goes again with four times as many.

        Raises:
            LoadError: calls failed, or sixteen times as many were too few.
        """
        for times in LONGER[:-1]:
            with suppress(NothingAsked):
                return self._run(address, calls, clients, times * seconds, seed, channels=channels)
        return self._run(address, calls, clients, LONGER[-1] * seconds, seed, channels=channels)

    def poisson(self, address: str, calls: Sequence[Prepared], rate: float, seconds: float, seed: int = 0) -> Measured:
        """Send `rate` requests a second that know nothing of each other. LoadError where calls fail."""
        due = arrivals.poisson(rate, seconds * (1 + WARM_SHARE), seed)
        return self._run(address, calls, due, seconds, seed)

    def _run(
        self,
        address: str,
        calls: Sequence[Prepared],
        load: arrivals.Times | int,
        seconds: float,
        seed: int,
        *,
        channels: int = CHANNELS,
    ) -> Measured:
        job = Job(
            endpoint=Endpoint(address, retry=RetryPolicy(attempts=1)),
            calls=tuple(calls),
            load=load,
            warm_up_s=WARM_SHARE * seconds,
            seconds=seconds,
            windows=1,
            objective_s=None,
            seed=(seed, 0),
            channels=channels,
            timeout_s=TIMEOUT_S,
        )
        tally = self._generators.run([job])
        if tally.errors:
            raise LoadError(f"calls failed: {', '.join(f'{count} {code}' for code, count in tally.errors.items())}")
        if tally.part("latency").count == 0:
            raise NothingAsked(
                f"nothing was asked within {seconds:g} s, for all waited for their first answers: take more --seconds"
            )
        return Measured(tally, seconds, load if isinstance(load, int) else None)


@contextmanager
def loads() -> Iterator[Loads]:
    """Start the process that sends, within a block."""
    with Generators(1) as generators:
        yield Loads(generators)


def translations(
    texts: Sequence[str], lengths: Sequence[int | None], *, beam_size: int = 5, model: str = ""
) -> list[Prepared]:
    """Return calls of TranslateText; where a length is given, the answer has exactly so many tokens, `eos` not counted."""
    options = [DecodingOptions(beam_size=beam_size, min_length=length, max_length=length) for length in lengths]
    items = [Item("translation", text, chosen) for text, chosen in zip(texts, options, strict=True)]
    return [prepare(item, model=model, beam_size=None, stream=False) for item in items]
