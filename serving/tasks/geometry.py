"""Plane geometry that checks what a model pointed at: turns, polygons, tours. Signs are exact, sizes are float64.

Coordinates may have any finite scale: whatever compares them first scales them by a power of two, which rounds nothing.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(P, 2), finite."""
Indices = Sequence[int]
"""Zero-based indices of points."""
Places = NDArray[np.int64]
"""The same in an array of any shape."""
Signs = NDArray[np.int8]
"""-1, 0 or 1."""
Triangle = tuple[int, int, int]

UNIT = 2.0**-53
ROUNDING = (3 + 16 * UNIT) * UNIT
"""A float64 orientation determinant is off by at most this share of its two products' sizes (Shewchuk 1997, orient2d)."""
CIRCLE_ROUNDING = (10 + 96 * UNIT) * UNIT
"""The same of an in-circle determinant, as a share of its permanent (Shewchuk 1997, incircle)."""
UNDERFLOW = 1e-290
"""Below this, products of scaled coordinates may have lost digits at the lower end of float64: their sign is doubtful too."""
DOUBT = 8 * ROUNDING + UNDERFLOW
"""An orientation determinant of scaled points is off by at most this, for neither of its two products is larger than 4."""
LINE_TOLERANCE = 1e-9
"""Points are on one line when none is farther from it than this share of their extent; the models see float32 anyway."""


def all_equal(points: Points) -> bool:
    """Say whether all points are the same point; true of none and of one."""
    return bool((points == points[:1]).all())


def first_index(points: Points) -> Places:
    """Return for each point the lowest index of a point equal to it."""
    first: dict[tuple[float, float], int] = {}
    return np.array([first.setdefault((x, y), index) for index, (x, y) in enumerate(points.tolist())], np.int64)


def repeats(points: "Points | ExactPoints") -> Places:
    """Return the indices, ascending, of the points (P, 2) that equal an earlier one."""
    return np.flatnonzero(exactly(points).first != np.arange(len(points)))


def on_one_line(points: "Points | ExactPoints") -> bool:
    """Say whether all points lie on one line, within `LINE_TOLERANCE` of their extent; true of equal points and of two."""
    exact = exactly(points)
    if all_equal(exact.points):
        return True
    offsets = exact.scaled - exact.scaled[0]
    far = offsets[np.argmax(np.hypot(offsets[:, 0], offsets[:, 1]))]
    extent = np.hypot(far[0], far[1])
    distances = np.abs(offsets[:, 0] * far[1] - offsets[:, 1] * far[0]) / extent
    return bool(distances.max() <= LINE_TOLERANCE * extent)


def is_simple_polygon(points: Points, corners: Indices) -> bool:
    """Say whether the closed polygon has at least three corners, each once, and no two edges that cross, touch or fold back.

    A convex one is found to be simple in O(n); for the others all pairs of edges are compared, at once.
    """
    if is_convex_polygon(points, corners):
        return True
    if len(corners) < 3 or len(set(corners)) < len(corners):
        return False
    polygon = ExactPoints(_scaled(points)[list(corners)])
    if (polygon.points == np.roll(polygon.points, -1, axis=0)).all(axis=1).any():
        return False
    return not _folds_back(polygon) and not _any_meet(polygon)


def is_convex_polygon(points: Points, corners: Indices) -> bool:
    """Say whether the corners turn left at every one of them and go round once, which makes the polygon simple; in O(n).

    An edge points to the right half of the plane, the upward vertical included, or to the left half. All turns being to the
    left and below half a round, a polygon enters each half once a round.
    """
    if len(corners) < 3:
        return False
    start = points[list(corners)]
    end, place = np.roll(start, -1, axis=0), np.arange(len(corners))
    if (ExactPoints(start).turns(place, np.roll(place, -1), np.roll(place, -2)) <= 0).any():
        return False
    to_the_right = (end[:, 0] > start[:, 0]) | ((end[:, 0] == start[:, 0]) & (end[:, 1] > start[:, 1]))
    return int((to_the_right & ~np.roll(to_the_right, 1)).sum()) == 1


def polygon_area(points: Points, corners: Indices) -> float:
    """Return the area of a simple polygon by the shoelace formula, in the points' units squared."""
    polygon = points[list(corners)] - points[corners[0]]
    following = np.concatenate((polygon[1:], polygon[:1]))
    return float(abs(np.sum(polygon[:, 0] * following[:, 1] - following[:, 0] * polygon[:, 1])) / 2)


def is_permutation(order: Indices, count: int) -> bool:
    """Say whether `order` names each of `count` points exactly once."""
    return sorted(order) == list(range(count))


def tour_length(points: Points, order: Indices) -> float:
    """Return the length of the closed tour, in the points' units."""
    visited = points[list(order)]
    legs = np.roll(visited, -1, axis=0) - visited
    return float(np.hypot(legs[:, 0], legs[:, 1]).sum())


def convex_hull(points: Points) -> list[int]:
    """Return the corners of the convex hull, counter-clockwise from the leftmost, then lowest point; no corner is on an edge.

    Andrew's monotone chain (1979), O(n log n). Of equal points the first index stands for all.
    """
    return ExactPoints(points).hull


def hull_boundary(points: Points) -> list[int]:
    """Return what `convex_hull` does, and the points on the hull's edges too, each in its place.

    Args:
        points: (P, 2), not all on one line.
    """
    return ExactPoints(points).boundary


class ExactPoints:
    """Points whose turns and circles are decided exactly: in float64, and in integers where a rounding error could decide.

    What is found out of them is kept, for whoever asks next.

    Attributes:
        points: (P, 2), as they were given.
        scaled: the same by the power of two that brings the largest coordinate into [0.5, 1).
    """

    def __init__(self, points: Points) -> None:
        self.points = points
        self.scaled = _scaled(points)
        self._floats: list[list[float]] = self.scaled.tolist()

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def first(self) -> Places:
        """Return what `first_index` does."""
        return first_index(self.points)

    @cached_property
    def boundary(self) -> list[int]:
        """Return what `hull_boundary` does."""
        return _both_chains(self, least_turn=0)

    @cached_property
    def hull(self) -> list[int]:
        """Return what `convex_hull` does."""
        around, count = self.boundary, len(self.boundary)
        corners = [b for i, b in enumerate(around) if self.turn(around[i - 1], b, around[(i + 1) % count]) > 0]
        return corners or _both_chains(self, least_turn=1)  # on one line nothing turns

    def turn(self, a: int, b: int, c: int) -> int:
        """Say on which side of the line from point a to point b point c lies: 1 left, -1 right, 0 on it."""
        (ax, ay), (bx, by), (cx, cy) = self._floats[a], self._floats[b], self._floats[c]
        left, right = (ax - cx) * (by - cy), (ay - cy) * (bx - cx)
        determinant = left - right
        if abs(determinant) > ROUNDING * (abs(left) + abs(right)) + UNDERFLOW:
            return 1 if determinant > 0 else -1
        return self._exact_turn(a, b, c)

    def turns(self, a: Places, b: Places, c: Places) -> Signs:
        """Do what `turn` does for arrays of indices, which broadcast."""
        first, second, third = self.scaled[a], self.scaled[b], self.scaled[c]
        left = (first[..., 0] - third[..., 0]) * (second[..., 1] - third[..., 1])
        right = (first[..., 1] - third[..., 1]) * (second[..., 0] - third[..., 0])
        determinant = left - right
        doubtful = np.abs(determinant) <= ROUNDING * (np.abs(left) + np.abs(right)) + UNDERFLOW
        return self._decide(np.sign(determinant), doubtful, (a, b, c), self._exact_turn)

    def in_circle(self, a: int, b: int, c: int, d: int) -> int:
        """Say where point d lies of the circle through a, b and c, which are counter-clockwise: 1 inside, -1 outside, 0 on it."""
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = (self._floats[point] for point in (a, b, c, d))
        ax, ay, bx, by, cx, cy = ax - dx, ay - dy, bx - dx, by - dy, cx - dx, cy - dy
        bc, cb, ca, ac, ab, ba = bx * cy, cx * by, cx * ay, ax * cy, ax * by, bx * ay
        a_lift, b_lift, c_lift = ax * ax + ay * ay, bx * bx + by * by, cx * cx + cy * cy
        determinant = a_lift * (bc - cb) + b_lift * (ca - ac) + c_lift * (ab - ba)
        permanent = a_lift * (abs(bc) + abs(cb)) + b_lift * (abs(ca) + abs(ac)) + c_lift * (abs(ab) + abs(ba))
        if abs(determinant) > CIRCLE_ROUNDING * permanent + UNDERFLOW:
            return 1 if determinant > 0 else -1
        return self._exact_circle(a, b, c, d)

    def in_circles(self, a: Places, b: Places, c: Places, d: Places) -> Signs:
        """Do what `in_circle` does for arrays of indices, which broadcast."""
        centre = self.scaled[d]
        (ax, ay), (bx, by), (cx, cy) = (np.moveaxis(self.scaled[corner] - centre, -1, 0) for corner in (a, b, c))
        bc, cb, ca, ac, ab, ba = bx * cy, cx * by, cx * ay, ax * cy, ax * by, bx * ay
        a_lift, b_lift, c_lift = ax * ax + ay * ay, bx * bx + by * by, cx * cx + cy * cy
        determinant = a_lift * (bc - cb) + b_lift * (ca - ac) + c_lift * (ab - ba)
        permanent = (
            a_lift * (np.abs(bc) + np.abs(cb)) + b_lift * (np.abs(ca) + np.abs(ac)) + c_lift * (np.abs(ab) + np.abs(ba))
        )
        doubtful = np.abs(determinant) <= CIRCLE_ROUNDING * permanent + UNDERFLOW
        return self._decide(np.sign(determinant), doubtful, (a, b, c, d), self._exact_circle)

    @cached_property
    def _whole(self) -> list[tuple[int, int]]:
        """Return the coordinates as integers, all of one unit: a float64 is one over a power of two."""
        ratios = [(x.as_integer_ratio(), y.as_integer_ratio()) for x, y in self.points.tolist()]
        common = max(denominator for ratio in ratios for _, denominator in ratio)
        return [(x[0] * (common // x[1]), y[0] * (common // y[1])) for x, y in ratios]

    def _exact_turn(self, a: int, b: int, c: int) -> int:
        (ax, ay), (bx, by), (cx, cy) = self._whole[a], self._whole[b], self._whole[c]
        determinant = (ax - cx) * (by - cy) - (ay - cy) * (bx - cx)
        return (determinant > 0) - (determinant < 0)

    def _exact_circle(self, a: int, b: int, c: int, d: int) -> int:
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = (self._whole[point] for point in (a, b, c, d))
        ax, ay, bx, by, cx, cy = ax - dx, ay - dy, bx - dx, by - dy, cx - dx, cy - dy
        determinant = (
            (ax * ax + ay * ay) * (bx * cy - cx * by)
            + (bx * bx + by * by) * (cx * ay - ax * cy)
            + (cx * cx + cy * cy) * (ax * by - bx * ay)
        )
        return (determinant > 0) - (determinant < 0)

    @staticmethod
    def _decide(
        signs: Points, doubtful: NDArray[np.bool_], indices: tuple[Places, ...], exactly: Callable[..., int]
    ) -> Signs:
        """Return the signs, the doubtful ones worked out by `exactly`."""
        decided: Signs = signs.astype(np.int8)
        if doubtful.any():
            corners = (np.broadcast_to(places, doubtful.shape)[doubtful].tolist() for places in indices)
            decided[doubtful] = [exactly(*places) for places in zip(*corners, strict=True)]
        return decided


def exactly(points: Points | ExactPoints) -> ExactPoints:
    """Return points, of which something may be known already, as those whose turns are exact."""
    return points if isinstance(points, ExactPoints) else ExactPoints(points)


def _scaled(points: Points) -> Points:
    """Scale by the power of two that brings the largest coordinate into [0.5, 1); exact but for far smaller coordinates."""
    _, exponent = np.frexp(np.abs(points).max(initial=0.0))
    # In two halves: a single power could overflow for coordinates below 2^-1023.
    half = -int(exponent) // 2
    scaled: Points = np.ldexp(np.ldexp(points, half), -int(exponent) - half)
    return scaled


def _folds_back(polygon: ExactPoints) -> bool:
    """Say whether an edge runs back along the one before it."""
    place = np.arange(len(polygon.points))
    start, end, before = polygon.points, np.roll(polygon.points, -1, axis=0), np.roll(polygon.points, 1, axis=0)
    straight = polygon.turns(np.roll(place, 1), place, np.roll(place, -1)) == 0
    along = ((start - before) * (end - start)).sum(axis=1)
    return bool((straight & (along < 0)).any())


def _any_meet(polygon: ExactPoints) -> bool:
    """Say whether two edges that are not neighbours share a point; edge i runs from corner i to the next one."""
    count = len(polygon.points)
    start, end = polygon.points, np.roll(polygon.points, -1, axis=0)
    i, j = np.triu_indices(count, k=2)
    apart = ~((i == 0) & (j == count - 1))
    i, j = i[apart], j[apart]
    low, high = np.minimum(start, end), np.maximum(start, end)
    boxes_meet = ((low[i] <= high[j]) & (low[j] <= high[i])).all(axis=1)
    i, j = i[boxes_meet], j[boxes_meet]
    after_i, after_j = (i + 1) % count, (j + 1) % count
    # Segments whose boxes meet share a point just when neither lies strictly on one side of the other's line.
    j_around_i = polygon.turns(i, after_i, j) * polygon.turns(i, after_i, after_j) <= 0
    i_around_j = polygon.turns(j, after_j, i) * polygon.turns(j, after_j, after_i) <= 0
    return bool((j_around_i & i_around_j).any())


def _both_chains(exact: ExactPoints, least_turn: int) -> list[int]:
    """Return the hull, a point staying on it where the chain turns by `least_turn` or more there: 1 left, 0 straight on."""
    points, first_at = exact.points, exact.first.tolist()
    order = [index for index in np.lexsort((points[:, 1], points[:, 0])).tolist() if first_at[index] == index]
    if len(order) < 3:
        return order
    return _chain(exact, order, least_turn)[:-1] + _chain(exact, order[::-1], least_turn)[:-1]


def _chain(exact: ExactPoints, order: list[int], least_turn: int) -> list[int]:
    """Return the right-hand side of the hull along `order`, both ends included."""
    place: list[list[float]] = exact.scaled.tolist()
    chain: list[int] = []
    for index in order:
        x, y = place[index]
        while len(chain) > 1:
            (ax, ay), (bx, by) = place[chain[-2]], place[chain[-1]]
            # As `turn` begins, whose call costs as much again.
            determinant = (ax - x) * (by - y) - (ay - y) * (bx - x)
            if determinant > DOUBT or (determinant >= -DOUBT and exact.turn(chain[-2], chain[-1], index) >= least_turn):
                break
            chain.pop()
        chain.append(index)
    return chain
