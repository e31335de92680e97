"""What the server finds out of an answer before it sends it: whether it is one, whether it is the right one, and how far off.

One object a request, since what the answer is held against is the same for all hypotheses; it is worked out when first needed.
It takes from a fraction of a millisecond to some tens of them, so it belongs off the engine's thread and, but for small hulls, off
the event loop; docs/serving.md, "What an answer says of itself", has the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property

from serving.tasks.geometry import (
    ExactPoints,
    Indices,
    Points,
    Triangle,
    exactly,
    is_permutation,
    is_simple_polygon,
    polygon_area,
    tour_length,
)
from serving.tasks.tours import Lengths, distances_between, edge_set, locally_optimal_tour
from serving.tasks.triangulation import Triangulations


class Repair(Enum):
    """What to do with an answer that is not the right one, or not the best that is easily found."""

    NONE = auto()
    FIX = auto()


@dataclass(frozen=True)
class Repaired:
    """That the answer is not the model's any more.

    Attributes:
        changes: corners or triangles that were added or taken away; of a tour the edges that were exchanged.
    """

    changes: int


@dataclass(frozen=True)
class JudgedHull:
    """A hull, after the repair if there was one.

    Attributes:
        corners: indices in order.
        valid: whether it is a simple polygon of at least three corners.
        exact: whether it is the convex hull, counter-clockwise, each corner once and no point on an edge among them.
        area: of the polygon, in the points' units squared; 0 unless valid.
        area_coverage: that area over the hull's, from 0 to 1.
        repaired: None where the answer is the model's.
    """

    corners: list[int]
    valid: bool
    exact: bool
    area: float
    area_coverage: float
    repaired: Repaired | None = None


@dataclass(frozen=True)
class JudgedTriangulation:
    """A triangulation, after the repair if there was one.

    Attributes:
        triangles: three indices each.
        valid: whether they cover the convex hull, edge to edge, without overlap.
        exact: whether they are a Delaunay triangulation of all points.
        triangle_coverage: share of the Delaunay triangles that are there, from 0 to 1.
        repaired: None where the answer is the model's.
    """

    triangles: list[Triangle]
    valid: bool
    exact: bool
    triangle_coverage: float
    repaired: Repaired | None = None


@dataclass(frozen=True)
class JudgedTour:
    """A tour, after the repair if there was one.

    Attributes:
        order: indices in the order of visit.
        valid: whether every point is visited exactly once.
        length: of the closed tour, in the points' units; 0 unless valid.
        length_over_two_opt: that length over the one that local search from this tour comes to, from 1; 0 unless valid.
        repaired: None where the answer is the model's.
    """

    order: list[int]
    valid: bool
    length: float
    length_over_two_opt: float
    repaired: Repaired | None = None


class HullJudge:
    """Judges hulls of one set of points (P, 2), in O(P log P); a polygon of c corners that is not convex takes O(c^2)."""

    def __init__(self, points: Points | ExactPoints) -> None:
        self._exact = exactly(points)
        self._points = self._exact.points

    def judge(self, corners: Indices, repair: Repair = Repair.NONE) -> JudgedHull:
        """Judge one answer; with FIX it becomes the convex hull, from the leftmost, then lowest point."""
        hull, first = self._exact.hull, self._exact.first
        exact = same_cycle([int(first[corner]) for corner in corners], hull)
        if repair is Repair.FIX and not exact:
            changes = len(set(corners) ^ set(hull))
            return JudgedHull(hull, True, True, self._area, 1.0, Repaired(changes))
        valid = exact or is_simple_polygon(self._points, corners)
        if not valid:
            return JudgedHull(list(corners), False, False, 0.0, 0.0)
        area = polygon_area(self._points, corners)
        return JudgedHull(list(corners), True, exact, area, 1.0 if exact else min(1.0, area / self._area))

    @cached_property
    def _area(self) -> float:
        return polygon_area(self._points, self._exact.hull)


class TriangulationJudge:
    """Judges triangulations of one set of points (P, 2), in O(P log P)."""

    def __init__(self, points: Points | ExactPoints) -> None:
        self._triangulations = Triangulations(points)

    def judge(self, triangles: Sequence[Triangle], repair: Repair = Repair.NONE) -> JudgedTriangulation:
        """Judge one answer; with FIX it becomes a Delaunay triangulation that keeps what it has of it."""
        known = self._triangulations
        if known.is_delaunay(triangles):
            return JudgedTriangulation(list(triangles), True, True, 1.0)
        if repair is Repair.FIX:
            fixed = known.repaired(triangles)
            return JudgedTriangulation(fixed, True, True, 1.0, Repaired(known.changes(triangles, fixed)))
        return JudgedTriangulation(list(triangles), known.is_triangulation(triangles), False, known.coverage(triangles))


class TourJudge:
    """Judges tours through one set of points (P, 2), in O(P^2) for each sweep of the local search."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def judge(self, order: Indices, repair: Repair = Repair.NONE) -> JudgedTour:
        """Judge one answer; with FIX it becomes what 2-opt and or-opt make of it."""
        valid = is_permutation(order, len(self._points))
        if not valid and repair is Repair.NONE:
            return JudgedTour(list(order), False, 0.0, 0.0)
        shorter = locally_optimal_tour(self._distances, order)
        least = tour_length(self._points, shorter)
        if repair is Repair.FIX and shorter != list(order):
            return JudgedTour(shorter, True, least, 1.0, Repaired(len(edge_set(shorter) - edge_set(order))))
        length = tour_length(self._points, order)
        return JudgedTour(list(order), True, length, max(1.0, length / least))

    @cached_property
    def _distances(self) -> Lengths:
        return distances_between(self._points)


def same_cycle(answer: Indices, reference: Indices) -> bool:
    """Say whether two cycles name the same points in the same order and direction, whichever comes first."""
    if len(answer) != len(reference) or answer[0] not in reference:
        return False
    start = list(reference).index(answer[0])
    return list(answer) == [*reference[start:], *reference[:start]]
