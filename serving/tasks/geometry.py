"""Plane geometry that checks what a model pointed at: hulls, triangulations, tours. Signs are exact, sizes are float64.

Coordinates may have any finite scale: whatever compares them first scales them by a power of two, which rounds nothing.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(P, 2), finite."""
Indices = Sequence[int]
"""Zero-based indices of points."""
Triangle = tuple[int, int, int]

Point = Sequence[float]

UNIT = 2.0**-53
ROUNDING = (3 + 16 * UNIT) * UNIT
"""A float64 orientation determinant is off by at most this share of its two products' sizes (Shewchuk 1997, orient2d)."""
LINE_TOLERANCE = 1e-9
"""Points are on one line when none is farther from it than this share of their extent; the models see float32 anyway."""


def all_equal(points: Points) -> bool:
    """Say whether all points are the same point; true of none and of one."""
    return bool((points == points[:1]).all())


def repeats(points: Points) -> NDArray[np.int64]:
    """Return the indices, ascending, of the points (P, 2) that equal an earlier one."""
    _, first = np.unique(points + 0.0, axis=0, return_index=True)  # -0.0 + 0.0 is 0.0
    return np.setdiff1d(np.arange(len(points)), first)


def on_one_line(points: Points) -> bool:
    """Say whether all points lie on one line, within `LINE_TOLERANCE` of their extent; true of equal points and of two."""
    if all_equal(points):
        return True
    offsets = _scaled(points) - _scaled(points)[0]
    far = offsets[np.argmax(np.hypot(offsets[:, 0], offsets[:, 1]))]
    extent = np.hypot(far[0], far[1])
    distances = np.abs(offsets[:, 0] * far[1] - offsets[:, 1] * far[0]) / extent
    return bool(distances.max() <= LINE_TOLERANCE * extent)


def orientation(first: Points, second: Points, third: Points) -> NDArray[np.int8]:
    """Return on which side of the line from `first` to `second` each `third` lies: 1 left, -1 right, 0 on it; exactly.

    A float64 determinant that exceeds its rounding error has the right sign; the few others are worked out in integers.

    Args:
        first: (..., 2); the three shapes broadcast to one of at least two axes. Scaled so that products do not overflow or vanish.
        second: the same.
        third: the same.
    """
    first, second, third = np.broadcast_arrays(first, second, third)
    left = (first[..., 0] - third[..., 0]) * (second[..., 1] - third[..., 1])
    right = (first[..., 1] - third[..., 1]) * (second[..., 0] - third[..., 0])
    determinant = left - right
    sign = np.sign(determinant).astype(np.int8)
    doubtful = np.abs(determinant) <= ROUNDING * (np.abs(left) + np.abs(right))
    triples = zip(first[doubtful].tolist(), second[doubtful].tolist(), third[doubtful].tolist(), strict=True)
    sign[doubtful] = [_exact_turn(*triple) for triple in triples]
    return sign


def is_simple_polygon(points: Points, corners: Indices) -> bool:
    """Say whether the closed polygon has at least three corners, each once, and no two edges that cross, touch or fold back."""
    if len(corners) < 3 or len(set(corners)) < len(corners):
        return False
    start = _scaled(points)[list(corners)]
    end = np.roll(start, -1, axis=0)
    if (start == end).all(axis=1).any():
        return False
    return not _folds_back(start, end) and not _any_meet(start, end)


def polygon_area(points: Points, corners: Indices) -> float:
    """Return the area of a simple polygon by the shoelace formula, in the points' units squared."""
    polygon = points[list(corners)] - points[corners[0]]
    x, y = polygon[:, 0], polygon[:, 1]
    return float(abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2)


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

    Andrew's monotone chain (1979). Of equal points the first index stands for all.
    """
    scaled = _scaled(points)
    first_at = _first_index(points)
    order = [int(index) for index in np.lexsort((scaled[:, 1], scaled[:, 0])) if first_at[index] == index]
    if len(order) < 3:
        return order
    coordinates = scaled.tolist()
    return _chain(coordinates, order)[:-1] + _chain(coordinates, order[::-1])[:-1]


def is_triangulation(points: Points, triangles: Sequence[Triangle]) -> bool:
    """Say whether the triangles cover the convex hull, edge to edge, without overlap.

    Turned counter-clockwise, each edge must be walked once in both directions, or once and lie on the hull. Crossing any
    edge inside the hull then leaves the number of triangles above a place as it was, so that this number is the same all
    over the hull; it is 1 just when the triangles' areas add up to the hull's. Equal points count as one; points inside
    that no triangle uses are allowed, as the proto says no more.

    Args:
        points: (P, 2).
        triangles: three indices each, in any order.
    """
    if not triangles:
        return False
    scaled = _scaled(points)
    corners = _first_index(points)[np.asarray(triangles, dtype=np.int64)]
    turn = orientation(scaled[corners[:, 0]], scaled[corners[:, 1]], scaled[corners[:, 2]])
    if (turn == 0).any():
        return False
    corners[turn < 0] = corners[turn < 0][:, ::-1]
    edges = Counter((int(a), int(b)) for side in ((0, 1), (1, 2), (2, 0)) for a, b in corners[:, side])
    if any(count > 1 for count in edges.values()):
        return False
    boundary = np.array([edge for edge in edges if edge[::-1] not in edges])
    if (orientation(scaled[boundary[:, :1]], scaled[boundary[:, 1:]], scaled[None]) < 0).any():
        return False
    sides = scaled[corners[:, 1:]] - scaled[corners[:, :1]]
    covered = float(np.linalg.det(sides).sum()) / 2
    return round(covered / polygon_area(scaled, convex_hull(points))) == 1


def _scaled(points: Points) -> Points:
    """Scale by the power of two that brings the largest coordinate into [0.5, 1); exact but for far smaller coordinates."""
    _, exponent = np.frexp(np.abs(points).max(initial=0.0))
    # In two halves: a single power could overflow for coordinates below 2^-1023.
    half = -int(exponent) // 2
    scaled: Points = np.ldexp(np.ldexp(points, half), -int(exponent) - half)
    return scaled


def _first_index(points: Points) -> NDArray[np.int64]:
    """Return for each point the lowest index of a point equal to it."""
    _, first, inverse = np.unique(points, axis=0, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.ravel()], dtype=np.int64)


def _turn(first: Point, second: Point, third: Point) -> int:
    """Do what `orientation` does, for three points; a NumPy call on scalars takes twenty times as long."""
    left = (first[0] - third[0]) * (second[1] - third[1])
    right = (first[1] - third[1]) * (second[0] - third[0])
    determinant = left - right
    if abs(determinant) > ROUNDING * (abs(left) + abs(right)):
        return 1 if determinant > 0 else -1
    return _exact_turn(first, second, third)


def _exact_turn(first: Point, second: Point, third: Point) -> int:
    """Return the sign of the determinant in integers: a float64 is one over a power of two, and Fraction takes 30 times as long."""
    ratios = [value.as_integer_ratio() for point in (first, second, third) for value in point]
    common = max(denominator for _, denominator in ratios)
    ax, ay, bx, by, cx, cy = (numerator * (common // denominator) for numerator, denominator in ratios)
    determinant = (ax - cx) * (by - cy) - (ay - cy) * (bx - cx)
    return (determinant > 0) - (determinant < 0)


def _folds_back(start: Points, end: Points) -> bool:
    """Say whether an edge runs back along the one before it."""
    before = np.roll(start, 1, axis=0)
    straight = orientation(before, start, end) == 0
    along = ((start - before) * (end - start)).sum(axis=1)
    return bool((straight & (along < 0)).any())


def _any_meet(start: Points, end: Points) -> bool:
    """Say whether two edges that are not neighbours share a point; edge i runs from start[i] to end[i]."""
    count = len(start)
    i, j = np.triu_indices(count, k=2)
    apart = ~((i == 0) & (j == count - 1))
    i, j = i[apart], j[apart]
    low, high = np.minimum(start, end), np.maximum(start, end)
    boxes_meet = ((low[i] <= high[j]) & (low[j] <= high[i])).all(axis=1)
    i, j = i[boxes_meet], j[boxes_meet]
    # Segments whose boxes meet share a point just when neither lies strictly on one side of the other's line.
    j_around_i = orientation(start[i], end[i], start[j]) * orientation(start[i], end[i], end[j]) <= 0
    i_around_j = orientation(start[j], end[j], start[i]) * orientation(start[j], end[j], end[i]) <= 0
    return bool((j_around_i & i_around_j).any())


def _chain(points: Sequence[Point], order: list[int]) -> list[int]:
    """Return the right-hand side of the hull along `order`, both ends included."""
    chain: list[int] = []
    for index in order:
        while len(chain) > 1 and _turn(points[chain[-2]], points[chain[-1]], points[index]) <= 0:
            chain.pop()
        chain.append(index)
    return chain
