"""Makes instances for `beamstep evaluate --instances`: python -m benchmarks.make_instances hull --count 1000 --points 50 > FILE.

Points are uniform in the unit square, as in Vinyals et al. 2015. Hulls and triangulations come from SciPy (Qhull), and not from
the geometry that serving checks answers with; shortest tours from training's exact solver, which needs the extra `train`.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated

import numpy as np
import typer
from scipy.spatial import ConvexHull

from export.evaluation.instances import Points, format_instance
from export.evaluation.pointing_metrics import delaunay_triangles


class Kind(StrEnum):
    """What the answers are."""

    HULL = "hull"
    DELAUNAY = "delaunay"
    TOUR = "tour"


TOUR_MS = 200.0
"""Search for each tour of more than 20 points; after 10 ms no tour of 50 points became shorter in 300."""


def solve(kind: Kind, points: Points) -> list[int]:
    """Return the line's output, zero-based: a closed cycle that begins at its lowest index, or triangle after triangle."""
    match kind:
        case Kind.HULL:
            return _closed(map(int, ConvexHull(points).vertices))  # counter-clockwise
        case Kind.DELAUNAY:
            return [index for triangle in sorted(delaunay_triangles(points)) for index in triangle]
        case Kind.TOUR:
            from training.problems.tour_solvers import reference_tours

            return _closed(map(int, reference_tours(points[None], TOUR_MS)[0]))


def _closed(cycle: Iterable[int]) -> list[int]:
    corners = list(cycle)
    start = corners.index(min(corners))
    return [*corners[start:], *corners[: start + 1]]


def make_instances(
    kind: Annotated[Kind, typer.Argument(help="What the answers are.")],
    count: Annotated[int, typer.Option(min=1, help="How many instances.")] = 1000,
    points: Annotated[int, typer.Option(min=3, help="Points of an instance.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the points.")] = 1,
) -> None:
    """Print instances with their answers, one a line: x1 y1 ... output i1 i2 ... (1-based).

    Tours are exact up to 20 points (0.2 s each there); above, the best that 0.2 s of search found.
    """
    for line in instance_lines(kind, count, points, seed):
        typer.echo(line)


def instance_lines(kind: Kind, count: int, points: int, seed: int) -> Iterator[str]:
    """Yield `count` instances of `points` points each with their answers; the same ones for the same seed."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        instance = generator.random((points, 2))
        yield format_instance(instance, solve(kind, instance))


if __name__ == "__main__":
    typer.run(make_instances)
