"""Delaunay triangulations: triangles in an order that the points' places decide (Vinyals et al. 2015, section 3.2)."""

from functools import cache
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from training.config import Task
from training.problems.points import FreshPointSets, Points, PointSetConfig, order_by_x

EXHAUSTIVE = 12
"""Most points of which all triples are tested."""


class DelaunayConfig(PointSetConfig):
    """Uniform point sets and their Delaunay triangulations, fresh at every step."""

    task: ClassVar[Task] = "delaunay"
    kind: Literal["delaunay"] = "delaunay"

    def build(self, data: Path | None, run: Path, seed: int) -> FreshPointSets:  # noqa: ARG002 - needs neither folder
        """Make the problem."""
        return FreshPointSets(self, seed, triangle_sequences)


def triangle_sequences(points: Points) -> list[list[int]]:
    """Return the triangulation of each set (B, P, 2) as one sequence of point indices, three a triangle."""
    return [triangles.ravel().tolist() for triangles in delaunay_triangles(points)]


def delaunay_triangles(points: Points) -> list[NDArray[np.int64]]:
    """Return the Delaunay triangles of each set, in canonical order.

    The order is one that an encoder without positions can know: rank the points from left to right; a triangle is its
    points by ascending rank; triangles are sorted by the rank of their first point, then second, then third. (Vinyals
    et al. sort by input index, and by incentre for the triangles.) An answer to a caller is sorted by input index anyway.

    A triangle is Delaunay if no point lies inside its circumcircle. Up to EXHAUSTIVE points all triples are tested, O(P^4) a set
    and at once for all sets, which is quicker than a call of Qhull for each; above, Qhull is called.

    Args:
        points: (B, P, 2), P >= 3, no three points on one line and no four on one circle.

    Returns:
        B arrays (triangles, 3) of input indices.
    """
    order = order_by_x(points)
    ranked = np.take_along_axis(points, order[..., None], 1)
    if points.shape[1] > EXHAUSTIVE:
        return [ranks_to_indices[_by_qhull(one)] for ranks_to_indices, one in zip(order, ranked, strict=True)]
    triples = _triples(points.shape[1])
    empty = ~_any_inside(ranked, triples)
    return [ranks_to_indices[triples[kept]] for ranks_to_indices, kept in zip(order, empty, strict=True)]


def _by_qhull(points: Points) -> NDArray[np.int64]:
    """Return the sorted triangles (triangles, 3), each ascending, of one set (P, 2)."""
    triangles = np.sort(Delaunay(points).simplices.astype(np.int64), 1)
    return triangles[np.lexsort(triangles.T[::-1])]


@cache
def _triples(count: int) -> NDArray[np.int64]:
    """Return all ascending triples below `count`, sorted: (count choose 3, 3)."""
    return np.array(list(combinations(range(count), 3)), dtype=np.int64)


def _any_inside(points: Points, triples: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which triples (B, M) of points (B, P, 2) have a point strictly inside their circumcircle.

    Lifted onto the paraboloid z = x^2 + y^2, a point is inside if it lies below the plane of the lifted triple
    (de Berg et al., Computational Geometry, theorem 9.8 and section 11.5).
    """
    centred = points - 0.5
    lifted = np.concatenate([centred, (centred**2).sum(2, keepdims=True)], 2)
    a, b, c = (lifted[:, triples[:, corner]] for corner in range(3))  # (B, M, 3) each
    normal = np.cross(b - a, c - a)
    normal *= np.sign(normal[..., 2:])  # upwards
    height = normal @ lifted.transpose(0, 2, 1) - (normal * a).sum(2, keepdims=True)  # (B, M, P)
    np.put_along_axis(height, np.broadcast_to(triples, (len(points), *triples.shape)), 0.0, 2)  # the corners themselves
    inside: NDArray[np.bool_] = (height < 0).any(2)
    return inside
