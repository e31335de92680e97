"""What a picture of runs shows: latency over load, and the percentiles of each load."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from beamstep.bench.histogram import Histogram
from beamstep.bench.plan import Point, labels
from beamstep.bench.record import Run
from beamstep.bench.tables import by_point
from beamstep.pictures.load import LoadCurve, PercentileCurve


def curves(runs: Sequence[Run]) -> tuple[list[LoadCurve], list[PercentileCurve]]:
    """Return a load curve for all that differs beside the load, and a percentile curve for every point; repeats together."""
    points = by_point(runs)
    loads: dict[Point, list[tuple[float, float, float, float]]] = defaultdict(list)
    for point, found in points.items():
        half, most = ([run.latency.percentile_ms(percent) for run in found] for percent in (50, 99))
        achieved = statistics.median(run.achieved for run in found)
        row = (_place(point, found), achieved, statistics.median(half), statistics.median(most))
        loads[replace(point, rate=None, concurrency=None)].append(row)
    named = labels(list(loads))
    names = {kind: name.removeprefix("as recorded").removeprefix(", ") for kind, name in named.items()}
    called = labels(list(points))
    return (
        [LoadCurve(names[kind], _axis(points), sorted(rows)) for kind, rows in loads.items()],
        [PercentileCurve(called[point], *_percentiles(found)) for point, found in points.items()],
    )


def _place(point: Point, runs: Sequence[Run]) -> float:
    return float(point.concurrency) if point.concurrency is not None else statistics.median(run.offered for run in runs)


def _axis(points: dict[Point, list[Run]]) -> str:
    return "clients" if all(point.concurrency is not None for point in points) else "offered requests a second"


def _percentiles(runs: Sequence[Run]) -> tuple[list[float], list[float]]:
    """Return percentiles, each time closer to 100, up to where a run is one request; and the latency at each, in ms."""
    together = Histogram()
    for run in runs:
        together.add(run.latency)
    places, rest = [0.0], 1.0
    while together.count * rest >= 1:
        rest /= 2**0.25
        places.append(100 * (1 - rest))
    return places, [together.percentile_ms(place) for place in places]
