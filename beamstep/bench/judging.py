"""What a reader of figures must be told of them."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final

from beamstep.bench.histogram import Histogram
from beamstep.bench.record import Run

LATE_MS: Final = 1.0
LATE_SHARE: Final = 0.1
BUSY_SHARE: Final = 0.8
DRIFT: Final = 1.5
"""A run whose latency changes by more between its halves is not in a steady state."""
ENOUGH: Final = 20
"""Answers in each half for that to be said."""
HUNDRED: Final = 100
KEPT_UP: Final = 0.9
"""A Poisson process of short runs ends with a few requests still under way."""


def notes(runs: Sequence[Run]) -> list[str]:
    """Say what is wrong with the repeats of a point: with the generator, the steady state, or the answers."""
    found = []
    fewest = min(run.latency.count for run in runs)
    if 0 < fewest < HUNDRED:
        found.append(f"only {fewest} answers in a run: p99 is the slowest of them")
    late = [behind_ms(run) for run in runs]
    worst = max(
        (ms for ms, run in zip(late, runs, strict=True) if ms > max(LATE_MS, LATE_SHARE * _median_ms(run))),
        default=None,
    )
    if worst is not None:
        found.append(
            f"the generator was up to {worst:.3g} ms late (p99): latencies hold its own delay; give it more cores"
        )
    busy = max(run.processor_share for run in runs)
    if busy > BUSY_SHARE:
        found.append(f"each generator process used up to {busy:.0%} of a core: give it more --processes")
    drifts = [drift for run in runs if (drift := halves(run)) is not None and not 1 / DRIFT <= drift <= DRIFT]
    if drifts:
        times = ", ".join(f"{drift:.2f}" for drift in drifts)
        found.append(
            f"not steady: in {len(drifts)} of {len(runs)} runs the second half's median latency was {times} times the first's"
        )
    behind = [run for run in runs if run.point.concurrency is None and run.achieved < KEPT_UP * run.offered]
    if behind:
        kept = " and ".join(f"{run.achieved:.4g} of {run.offered:.4g}" for run in behind)
        found.append(f"the server did not keep up: {kept} a second")
    errors = sum((run.tally.errors for run in runs), Counter[str]())
    if errors:
        codes = ", ".join(f"{count} {code}" for code, count in sorted(errors.items()))
        found.append(f"failed, and not in the latencies: {codes} of {sum(run.tally.due for run in runs)}")
    return found


def behind_ms(run: Run) -> float:
    """Return how late the generator was at the 99th percentile: with sending, or with anything at all."""
    parts = (run.tally.part("lag"), run.tally.part("lateness"))
    return max((part.percentile_ms(99) for part in parts if part.count), default=0.0)


def _median_ms(run: Run) -> float:
    return run.latency.percentile_ms(50) if run.latency.count else 0.0


def halves(run: Run) -> float | None:
    """Return the median latency of the second half over that of the first; None where there is not enough of either."""
    windows = run.tally.windows
    middle = len(windows) // 2
    first, second = Histogram(), Histogram()
    for window in windows[:middle]:
        first.add(window.latency)
    for window in windows[len(windows) - middle :]:
        second.add(window.latency)
    if min(first.count, second.count) < ENOUGH or first.percentile_ms(50) == 0:
        return None
    return second.percentile_ms(50) / first.percentile_ms(50)


def bears(runs: Sequence[Run], percentile: float, bound_ms: float) -> bool:
    """Tell whether a load was borne: the median over its runs of the percentile of latency is within the bound."""
    return tail_ms(runs, percentile) <= bound_ms


def tail_ms(runs: Sequence[Run], percentile: float) -> float:
    """Return the median over runs of a percentile of latency, in which a failed call is longer than any answer."""
    return statistics.median(run.latency.percentile_ms(percentile, run.tally.failed) for run in runs)
