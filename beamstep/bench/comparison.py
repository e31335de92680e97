"""Two recordings side by side: ratios, and how far they could be chance."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from beamstep.bench.errors import BadInput
from beamstep.bench.plan import Point
from beamstep.bench.record import Recording, Run
from beamstep.bench.tables import by_point

DRAWS: Final = 2000
COVERED: Final = (2.5, 97.5)
"""An interval that holds 95 % of what drawing again gives."""
PERCENTILES: Final = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
METRICS: Final = (*PERCENTILES, "rate")
FAILED_MORE: Final = 0.01
"""How much larger the share of failed calls may be."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """How one metric of one point changed, from the first recording to the second.

    Attributes:
        point: the load.
        metric: a percentile of latency, `rate` for answers a second, or `failed` for the share of failed calls.
        before: in the first recording, milliseconds or a second.
        after: in the second.
        ratio: after over before.
        low: of the interval that the ratio would be in again.
        high: of the same.
        worse: whether that is a regression: beyond the bound, and not by chance.
    """

    point: Point
    metric: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    worse: bool


def compare(before: Recording, after: Recording, bound: float, metrics: Sequence[str], seed: int = 0) -> list[Ratio]:
    """Compare what two recordings have in common.

    A metric is worse where its ratio is beyond the bound, and the whole interval is on the worse side of 1. The interval is a
    bootstrap's: repeats are drawn anew with replacement, and of each of them its windows.

    Args:
        before: the recording to compare with.
        after: the recording to judge.
        bound: 1.1 allows a tenth more latency, or a rate less by that factor; from 1.
        metrics: of `METRICS`.
        seed: of the draws.

    Raises:
        BadInput: they have no point in common, or asked another workload.
    """
    pairs = _pairs(before, after)
    generator = np.random.default_rng(seed)
    found = []
    for point, (first, second) in pairs.items():
        drawn = _Drawn(first, generator), _Drawn(second, generator)
        found += [_ratio(point, metric, *drawn, bound) for metric in metrics]
        found.append(_failed(point, first, second))
    return found


def _ratio(point: Point, metric: str, before: "_Drawn", after: "_Drawn", bound: float) -> Ratio:
    first, second = before.figure(metric), after.figure(metric)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = after.draws(metric) / before.draws(metric)
        ratio = float(np.float64(second) / first)
    finite = ratios[np.isfinite(ratios)]
    low, high = (float(edge) for edge in np.percentile(finite, COVERED)) if len(finite) else (np.nan, np.nan)
    worse = (ratio < 1 / bound and high < 1) if metric == "rate" else (ratio > bound and low > 1)
    return Ratio(point, metric, first, second, ratio, low, high, worse)


def _failed(point: Point, before: Sequence[Run], after: Sequence[Run]) -> Ratio:
    """Compare the shares of failed calls; there is no interval."""
    first, second = (
        sum(run.tally.failed for run in runs) / max(1, sum(run.tally.due for run in runs)) for runs in (before, after)
    )
    ratio = second / first if first else (1.0 if second == 0 else np.inf)
    return Ratio(point, "failed", first, second, ratio, np.nan, np.nan, second - first > FAILED_MORE)


class _Drawn:
    """The windows of a point's repeats, and what comes of drawing them anew.

    Counts of latencies stand in one matrix, (windows, distinct latencies), so that a draw is a product of it with how often each
    window was drawn.
    """

    def __init__(self, runs: Sequence[Run], generator: np.random.Generator) -> None:
        windows = [(run, window) for run in runs for window in run.tally.windows]
        counted = [window.latency.counts() for _, window in windows]
        self._latencies = np.array(sorted(set().union(*counted)), dtype=np.float64)
        places = {int(latency): place for place, latency in enumerate(self._latencies)}
        self._counts = np.zeros((len(windows), len(places)))
        for row, counts in zip(self._counts, counted, strict=True):
            for latency, count in counts.items():
                row[places[latency]] = count
        self._answered = np.array([window.answered for _, window in windows], dtype=np.float64)
        self._seconds = np.array([run.seconds / len(run.tally.windows) for run, _ in windows])
        self._weights = _draw([len(run.tally.windows) for run in runs], generator)

    def figure(self, metric: str) -> float:
        """Return a metric of all windows together."""
        return float(self._of(metric, np.ones((1, len(self._seconds))))[0])

    def draws(self, metric: str) -> Numbers:
        """Return it for every draw, (DRAWS,)."""
        return self._of(metric, self._weights)

    def _of(self, metric: str, weights: Numbers) -> Numbers:
        if metric == "rate":
            answered: Numbers = weights @ self._answered
            seconds: Numbers = weights @ self._seconds
            return answered / seconds
        if not len(self._latencies):
            return np.full(len(weights), np.nan)
        risen = np.cumsum(weights @ self._counts, axis=1)
        rank = np.floor(risen[:, -1:] * PERCENTILES[metric] / 100 + 0.5)
        found = self._latencies[(risen >= np.maximum(rank, 1)).argmax(axis=1)] / 1e3
        return np.where(risen[:, -1] > 0, found, np.nan)


def _draw(windows: Sequence[int], generator: np.random.Generator) -> Numbers:
    """Return how often each window is in each draw, (DRAWS, windows): repeats are drawn, and of each of them its windows."""
    weights = np.zeros((DRAWS, sum(windows)))
    begins = np.concatenate([[0], np.cumsum(windows)])
    repeats = generator.integers(len(windows), size=(len(windows), DRAWS))
    for drawn in repeats:
        for repeat, count in enumerate(windows):
            chosen = np.flatnonzero(drawn == repeat)
            often = generator.multinomial(count, np.full(count, 1 / count), size=len(chosen))
            weights[chosen, begins[repeat] : begins[repeat + 1]] += often
    return weights


def _pairs(before: Recording, after: Recording) -> dict[Point, tuple[list[Run], list[Run]]]:
    """Return the runs of the points that both have; where that is none, whatever served them."""
    asked = [{run.settings["workload"]["sha256"] for run in recording.runs} for recording in (before, after)]
    if asked[0] != asked[1]:
        raise BadInput(
            f"{before.name} and {after.name}: asked different workloads; allowed: two recordings of the same"
        )
    first, second = by_point(before.runs), by_point(after.runs)
    if not first.keys() & second.keys():
        first, second = _without_server(first), _without_server(second)
    common = [point for point in first if point in second]
    if not common:
        had = [", ".join(map(str, by_point(recording.runs))) for recording in (before, after)]
        raise BadInput(f"no load in common: {before.name} has {had[0]}; {after.name} has {had[1]}")
    return {point: (first[point], second[point]) for point in common}


def _without_server(points: dict[Point, list[Run]]) -> dict[Point, list[Run]]:
    """Return points by their load alone, as long as that names each of them."""
    bare = {point: replace(point, serve="") for point in points}
    often = Counter(bare.values())
    return {bare[point]: runs for point, runs in points.items() if often[bare[point]] == 1}
