"""Makes instances for `beamstep evaluate --instances`: python -m benchmarks.make_instances hull --count 1000 --points 50 > FILE.

Points are uniform in the unit square, as in Vinyals et al. 2015; the answers come from SciPy (Qhull), and not from the
geometry that serving checks answers with.
"""

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


def solve(kind: Kind, points: Points) -> list[int]:
    """Return the output, zero-based: the closed hull, counter-clockwise from its lowest index, or triangle after triangle."""
    if kind is Kind.DELAUNAY:
        return [index for triangle in sorted(delaunay_triangles(points)) for index in triangle]
    corners = [int(index) for index in ConvexHull(points).vertices]
    start = corners.index(min(corners))
    return [*corners[start:], *corners[: start + 1]]


def make_instances(
    kind: Annotated[Kind, typer.Argument(help="What the answers are.")],
    count: Annotated[int, typer.Option(min=1, help="How many instances.")] = 1000,
    points: Annotated[int, typer.Option(min=3, help="Points of an instance.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the points.")] = 1,
) -> None:
    """Print instances with their answers, one a line: x1 y1 ... output i1 i2 ... (1-based)."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        instance = generator.random((points, 2))
        typer.echo(format_instance(instance, solve(kind, instance)))


if __name__ == "__main__":
    typer.run(make_instances)
