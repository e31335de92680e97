"""Triangulations of points in the plane: whether one is, whether it is Delaunay's, and Delaunay's itself. Signs are exact.

Equal points count as one, under the lowest index among them. Where four or more points lie on one circle and none inside it there
are several Delaunay triangulations, and each of them is as good: triangles are compared by the *cells* of the Delaunay subdivision,
the convex polygons that its edges leave when those between triangles of one circle are taken away.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from serving.tasks.geometry import ExactPoints, Places, Points, Triangle, exactly

Edge = tuple[int, int]


@dataclass(frozen=True)
class Cells:
    """The Delaunay subdivision.

    Attributes:
        triangles: of one Delaunay triangulation, counter-clockwise.
        of_triangle: which cell each of them lies in.
        sizes: how many triangles each cell has, whichever way it is cut.
        at_point: the cells that have each point as a corner.
    """

    triangles: list[Triangle]
    of_triangle: list[int]
    sizes: list[int]
    at_point: dict[int, set[int]]

    def cell_of(self, triangle: Triangle) -> int | None:
        """Return the cell that has all three corners; None where there is none: then the triangle is not a Delaunay triangle."""
        a, b, c = (self.at_point[corner] for corner in triangle)
        return next(iter(a & b & c), None)


class Triangulations:
    """Judges triangulations of one set of points (P, 2) that are not all on one line."""

    def __init__(self, points: Points | ExactPoints) -> None:
        self._exact = exactly(points)
        self._first = self._exact.first
        self._boundary = self._exact.boundary
        self._count = len(np.unique(self._first))
        self._cells: Cells | None = None
        # Of each point on the hull: the side that leaves it and the one that reaches it, with its place on the way round.
        around, end = self._boundary, len(self._boundary)
        corners = set(self._exact.hull)
        sides = list(accumulate(point in corners for point in around))
        self._leaving = {point: (sides[i], i) for i, point in enumerate(around)}
        self._reaching = {point: (sides[i - 1], i or end) for i, point in enumerate(around)}

    @property
    def triangle_count(self) -> int:
        """Return how many triangles a triangulation of all points has: 2n - 2 - b, b of n points on the hull (Euler)."""
        return 2 * self._count - 2 - len(self._boundary)

    @property
    def cells(self) -> Cells:
        """Return the Delaunay subdivision, worked out when it is first asked for."""
        if self._cells is None:
            self._cells = subdivide(self._exact, delaunay_triangles(self._exact, np.unique(self._first).tolist()))
        return self._cells

    def is_triangulation(self, triangles: Collection[Triangle]) -> bool:
        """Say whether the triangles cover the convex hull, edge to edge, without overlap; O(m log m) for m of them.

        Turned counter-clockwise, each edge must be walked once in both directions, or once and lie on the hull. Crossing any
        edge inside the hull then leaves the number of triangles above a place as it was, so that this number is the same all
        over the hull; it is 1 just when the triangles' areas add up to the hull's. Points inside that no triangle uses are allowed.
        """
        if not triangles:
            return False
        corners = self._counter_clockwise(triangles)
        return corners is not None and self._covers(corners)

    def is_delaunay(self, triangles: Collection[Triangle]) -> bool:
        """Say whether the triangles are a Delaunay triangulation of all points.

        A triangulation with as many triangles as all points ask for is Delaunay's just when every inner edge is locally so: the
        corner beyond it does not lie inside the circle of the triangle before it (Delaunay 1934).
        """
        if len(triangles) != self.triangle_count:
            return False
        corners = self._counter_clockwise(triangles)
        if corners is None or not self._covers(corners):
            return False
        opposite = {(int(a), int(b)): int(c) for triangle in corners for a, b, c in _turned(triangle)}
        inner = [(a, b, c, opposite[b, a]) for (a, b), c in opposite.items() if a < b and (b, a) in opposite]
        if not inner:
            return True
        a, b, c, beyond = np.array(inner).T
        return not (self._exact.in_circles(a, b, c, beyond) > 0).any()

    def coverage(self, triangles: Iterable[Triangle]) -> float:
        """Return the share of the Delaunay triangles that the answer has, from 0 to 1; of a cell at most as many as it has."""
        cells = self.cells
        found = [0] * len(cells.sizes)
        for triangle in self._distinct(triangles):
            cell = cells.cell_of(triangle)
            if cell is not None:
                found[cell] += 1
        return sum(map(min, found, cells.sizes)) / self.triangle_count

    def repaired(self, triangles: Sequence[Triangle]) -> list[Triangle]:
        """Return a Delaunay triangulation, corners ascending: first the answer's triangles that are in it, in their order."""
        wanted = {_ascending(triangle) for triangle in self.cells.triangles}
        kept = [triangle for triangle in self._distinct(triangles) if triangle in wanted]
        return kept + sorted(wanted - set(kept))

    def changes(self, before: Iterable[Triangle], after: Iterable[Triangle]) -> int:
        """Return how many triangles were added or taken away."""
        return len(set(self._distinct(before)) ^ set(self._distinct(after)))

    def _distinct(self, triangles: Iterable[Triangle]) -> list[Triangle]:
        """Return the triangles of three different points, corners ascending and by their first index, each once, in order."""
        first = self._first
        named = (_ascending((int(first[a]), int(first[b]), int(first[c]))) for a, b, c in triangles)
        return list(dict.fromkeys(triangle for triangle in named if triangle[0] != triangle[1] != triangle[2]))

    def _counter_clockwise(self, triangles: Collection[Triangle]) -> Places | None:
        """Return the triangles (m, 3) turned counter-clockwise; None where one has its corners on a line."""
        corners = self._first[np.asarray(list(triangles), dtype=np.int64)]
        turns = self._exact.turns(*corners.T)
        if (turns == 0).any():
            return None
        corners[turns < 0] = corners[turns < 0][:, ::-1]
        return corners

    def _covers(self, corners: Places) -> bool:
        edges = np.concatenate((corners[:, :2], corners[:, 1:], corners[:, ::-2])).tolist()  # (c, a) is the third
        walked = {(a, b) for a, b in edges}
        if len(walked) < len(edges):
            return False
        if not all(self._on_hull(a, b) for a, b in walked if (b, a) not in walked):
            return False
        points = self._exact.scaled
        sides = points[corners[:, 1:]] - points[corners[:, :1]]
        hull = points[self._boundary] - points[self._boundary[0]]
        whole = (hull[:, 0] * np.roll(hull[:, 1], -1) - np.roll(hull[:, 0], -1) * hull[:, 1]).sum()
        return round(float(np.linalg.det(sides).sum() / whole)) == 1

    def _on_hull(self, a: int, b: int) -> bool:
        """Say whether the edge runs counter-clockwise along one side of the hull."""
        if a not in self._leaving or b not in self._reaching:
            return False
        (side, place), (side_reached, place_reached) = self._leaving[a], self._reaching[b]
        return side == side_reached and place < place_reached


def delaunay_triangles(exact: ExactPoints, distinct: Sequence[int]) -> list[Triangle]:
    """Return a Delaunay triangulation of the points with these indices, counter-clockwise; none where all are on one line.

    Divide and conquer, O(n log n): Guibas and Stolfi 1985, "Primitives for the manipulation of general subdivisions".

    Args:
        exact: the points.
        distinct: indices of points of which no two are equal.
    """
    place = exact.points
    order = sorted(distinct, key=lambda index: (place[index, 0], place[index, 1]))
    made: list[_Edge] = []
    _triangulate(exact, order, made)
    triangles = []
    for edge in made:
        second = edge.left_next
        third = second.left_next
        if edge.deleted or third.left_next is not edge:
            continue
        a, b, c = edge.origin, second.origin, third.origin
        if a < b and a < c and exact.turn(a, b, c) > 0:
            triangles.append((a, b, c))
    return triangles


def subdivide(exact: ExactPoints, triangles: list[Triangle]) -> Cells:
    """Join the triangles of a Delaunay triangulation that have one circle."""
    beyond = {(a, b): (number, c) for number, triangle in enumerate(triangles) for a, b, c in _turned(triangle)}
    group = list(range(len(triangles)))

    def root(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    inner = [(a, b) for a, b in beyond if a < b and (b, a) in beyond]
    if inner:
        quads = np.array([(a, b, beyond[a, b][1], beyond[b, a][1]) for a, b in inner])
        one_circle = exact.in_circles(*quads.T) == 0
        for edge, joined in zip(inner, one_circle.tolist(), strict=True):
            if joined:
                group[root(beyond[edge][0])] = root(beyond[edge[::-1]][0])
    numbers: dict[int, int] = {}
    of_triangle = [numbers.setdefault(root(number), len(numbers)) for number in range(len(triangles))]
    sizes = [0] * len(numbers)
    at_point: dict[int, set[int]] = defaultdict(set)
    for triangle, cell in zip(triangles, of_triangle, strict=True):
        sizes[cell] += 1
        for corner in triangle:
            at_point[corner].add(cell)
    return Cells(triangles, of_triangle, sizes, dict(at_point))


class _Edge:
    """One direction of an edge: where it begins, the edges beside it around that point, and its other direction."""

    __slots__ = ("deleted", "next", "origin", "previous", "twin")

    next: "_Edge"
    previous: "_Edge"
    twin: "_Edge"

    def __init__(self, origin: int) -> None:
        self.origin = origin
        self.deleted = False
        self.next = self.previous = self  # counter-clockwise and clockwise around the origin

    @property
    def end(self) -> int:
        return self.twin.origin

    @property
    def left_next(self) -> "_Edge":
        """Return the edge that follows around the face to the left."""
        return self.twin.previous


def _make_edge(made: list[_Edge], origin: int, end: int) -> _Edge:
    edge, twin = _Edge(origin), _Edge(end)
    edge.twin, twin.twin = twin, edge
    made += (edge, twin)
    return edge


def _splice(one: _Edge, other: _Edge) -> None:
    """Join the rings of two edges around their origins, or part them where they are one."""
    if one is not other:
        one.next.previous, other.next.previous = other, one
        one.next, other.next = other.next, one.next


def _connect(made: list[_Edge], one: _Edge, other: _Edge) -> _Edge:
    """Add the edge from the end of `one` to the origin of `other`; all three have the same face on the left."""
    edge = _make_edge(made, one.end, other.origin)
    _splice(edge, one.left_next)
    _splice(edge.twin, other)
    return edge


def _delete(edge: _Edge) -> None:
    _splice(edge, edge.previous)
    _splice(edge.twin, edge.twin.previous)
    edge.deleted = edge.twin.deleted = True


def _triangulate(exact: ExactPoints, order: Sequence[int], made: list[_Edge]) -> tuple[_Edge, _Edge]:
    """Triangulate points sorted by x, then y; return the hull's edges from its first point and from its last one.

    The first is counter-clockwise, the second clockwise.
    """
    if len(order) == 2:
        edge = _make_edge(made, order[0], order[1])
        return edge, edge.twin
    if len(order) == 3:
        first, second = _make_edge(made, order[0], order[1]), _make_edge(made, order[1], order[2])
        _splice(first.twin, second)
        turn = exact.turn(*order)
        if turn == 0:
            return first, second.twin
        third = _connect(made, second, first)
        return (first, second.twin) if turn > 0 else (third.twin, third)
    middle = (len(order) + 1) // 2
    left_outer, left_inner = _triangulate(exact, order[:middle], made)
    right_inner, right_outer = _triangulate(exact, order[middle:], made)
    base = _lower_tangent(exact, made, left_inner, right_inner)
    if base.twin.origin == left_outer.origin:
        left_outer = base.twin
    if base.origin == right_outer.origin:
        right_outer = base
    _merge(exact, made, base)
    return left_outer, right_outer


def _lower_tangent(exact: ExactPoints, made: list[_Edge], left: _Edge, right: _Edge) -> _Edge:
    """Join two halves by the edge that has both above it, from the right to the left."""
    while True:
        if exact.turn(left.origin, left.end, right.origin) > 0:
            left = left.left_next
        elif exact.turn(right.origin, right.end, left.origin) < 0:
            right = right.twin.next
        else:
            return _connect(made, right.twin, left)


def _merge(exact: ExactPoints, made: list[_Edge], base: _Edge) -> None:
    """Knit two halves together above their lower tangent, taking away edges that are Delaunay's no more."""
    while True:
        left, right, origin, end = base.twin.next, base.previous, base.origin, base.end

        def above(edge: _Edge, origin: int = origin, end: int = end) -> bool:
            return exact.turn(origin, end, edge.end) < 0

        if above(left):
            while exact.in_circle(end, origin, left.end, left.next.end) > 0:
                left, gone = left.next, left
                _delete(gone)
        if above(right):
            while exact.in_circle(end, origin, right.end, right.previous.end) > 0:
                right, gone = right.previous, right
                _delete(gone)
        from_left, from_right = above(left), above(right)
        if not (from_left or from_right):
            return
        if not from_left or (from_right and exact.in_circle(left.end, left.origin, right.origin, right.end) > 0):
            base = _connect(made, right, base.twin)
        else:
            base = _connect(made, base.twin, left.twin)


def _turned(triangle: Iterable[int]) -> list[Triangle]:
    """Return a triangle from each of its corners."""
    a, b, c = triangle
    return [(a, b, c), (b, c, a), (c, a, b)]


def _ascending(triangle: Triangle) -> Triangle:
    a, b, c = sorted(triangle)
    return a, b, c
