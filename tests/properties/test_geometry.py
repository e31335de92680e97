"""Geometry against scipy's, and against what holds for any points."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Delaunay

from serving.tasks.geometry import (
    ExactPoints,
    convex_hull,
    first_index,
    hull_boundary,
    is_convex_polygon,
    is_simple_polygon,
    on_one_line,
    polygon_area,
    tour_length,
)
from serving.tasks.tours import distances_between, locally_optimal_tour
from serving.tasks.triangulation import Triangulations
from serving.tasks.verification import HullJudge, Repair, TourJudge, TriangulationJudge

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(3, 60)
small = st.integers(-3, 3)
grids = st.lists(st.tuples(small, small), min_size=3, max_size=12).map(lambda points: np.array(points, dtype=float))


def uniform(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 2))


@given(seeds, counts)
@settings(max_examples=100, deadline=None)
def test_the_hull_is_scipys(seed, count):
    points = uniform(seed, count)
    hull = convex_hull(points)
    reference = ConvexHull(points)
    assert set(hull) == set(reference.vertices.tolist())
    assert is_simple_polygon(points, hull)
    assert math.isclose(polygon_area(points, hull), reference.volume, rel_tol=1e-12)


@given(seeds, counts)
@settings(max_examples=100, deadline=None)
def test_scipys_triangulation_is_one_and_without_any_triangle_is_none(seed, count):
    points = uniform(seed, count)
    triangles = [tuple(row) for row in Delaunay(points).simplices.tolist()]
    known = Triangulations(points)
    assert known.is_triangulation(triangles)
    assert known.is_delaunay(triangles)
    assert known.coverage(triangles) == 1
    assert {tuple(sorted(triangle)) for triangle in known.cells.triangles} == {tuple(sorted(t)) for t in triangles}
    missing = np.random.default_rng(seed).integers(len(triangles))
    others = triangles[:missing] + triangles[missing + 1 :]
    assert not known.is_triangulation(others)
    assert math.isclose(known.coverage(others), 1 - 1 / len(triangles))


@given(grids)
@settings(max_examples=200, deadline=None)
def test_a_hull_on_a_grid_turns_left_at_every_corner_and_has_all_points_on_its_left(points):
    hull = np.array(convex_hull(points), np.int64)
    if on_one_line(points):
        assert len(hull) <= 2
        return
    exact, following = ExactPoints(points), np.roll(hull, -1)
    assert (exact.turns(hull, following, np.roll(hull, -2)) == 1).all()
    sides = exact.turns(hull[:, None], following[:, None], np.arange(len(points)))
    assert (sides >= 0).all()
    assert is_convex_polygon(points, hull.tolist())
    on_it = np.flatnonzero((sides == 0).any(axis=0))
    assert set(hull_boundary(points)) == set(first_index(points)[on_it].tolist())


coordinates = st.floats(-1, 1) | st.floats(-1e-3, 1e-3).map(lambda x: 0.5 + x) | st.integers(-4, 4).map(float)


@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=4), st.sampled_from([1.0, 2.0**-400, 2.0**400])
)
@settings(max_examples=500)
def test_turns_and_circles_have_the_signs_of_the_exact_determinants(points, scale):
    points = scale * np.array(points)
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = ((Fraction(x), Fraction(y)) for x, y in points)
    turn = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    rows = [(x - dx, y - dy, (x - dx) ** 2 + (y - dy) ** 2) for x, y in ((ax, ay), (bx, by), (cx, cy))]
    (a, b, c), (d, e, f), (g, h, i) = rows
    circle = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    exact, one = ExactPoints(points), [np.array([index]) for index in range(4)]
    for found, value in ((exact.turn(0, 1, 2), turn), (exact.in_circle(0, 1, 2, 3), circle)):
        assert found == (value > 0) - (value < 0)
    assert exact.turns(*one[:3]).tolist() == [exact.turn(0, 1, 2)]
    assert exact.in_circles(*one).tolist() == [exact.in_circle(0, 1, 2, 3)]


@given(grids, st.sampled_from([1.0, 0.1, 1e140]))
@settings(max_examples=200, deadline=None)
def test_on_a_grid_the_triangulation_is_whole_and_every_circle_is_empty(points, scale):
    points = points * scale
    if on_one_line(points):
        return
    known, exact = Triangulations(points), ExactPoints(points)
    triangles = known.cells.triangles
    assert len(triangles) == known.triangle_count
    assert known.is_delaunay(triangles)
    a, b, c = np.array(triangles).T
    assert not (exact.in_circles(a[:, None], b[:, None], c[:, None], np.arange(len(points))) > 0).any()
    assert sum(known.cells.sizes) == len(triangles)


@given(grids)
@settings(max_examples=100, deadline=None)
def test_any_way_to_cut_points_on_one_circle_is_exact(points):
    """Flip an edge between two triangles of one circle: the other diagonal is as good."""
    if on_one_line(points):
        return
    known, exact = Triangulations(points), ExactPoints(points)
    triangles = list(known.cells.triangles)
    beyond = {
        (a, b): c
        for triangle in triangles
        for a, b, c in (triangle, triangle[1:] + triangle[:1], triangle[2:] + triangle[:2])
    }
    for (a, b), c in beyond.items():
        d = beyond.get((b, a))
        if d is not None and exact.in_circle(a, b, c, d) == 0:
            flipped = [t for t in triangles if not {a, b} <= set(t)] + [(a, d, c), (d, b, c)]
            assert known.is_delaunay(flipped)
            assert known.coverage(flipped) == 1
            return


@given(seeds, counts, st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_a_repair_makes_any_answer_right(seed, count, length):
    points, random = uniform(seed, count), np.random.default_rng(seed)
    hull, answer = HullJudge(points), random.integers(0, count, length).tolist()
    fixed = hull.judge(answer, Repair.FIX)
    assert fixed.exact
    assert hull.judge(fixed.corners) == hull.judge(fixed.corners, Repair.FIX), "a right answer is left alone"
    triangles = [tuple(map(int, random.choice(count, 3, replace=False))) for _ in range(length)]
    known = TriangulationJudge(points)
    mended = known.judge(triangles, Repair.FIX)
    assert mended.exact
    assert known.judge(mended.triangles).exact
    tour = TourJudge(points).judge(answer, Repair.FIX)
    assert tour.valid
    assert sorted(tour.order) == list(range(count))


@given(seeds, st.integers(3, 30))
@settings(max_examples=60, deadline=None)
def test_a_locally_optimal_tour_is_no_longer_and_no_move_shortens_it(seed, count):
    points = uniform(seed, count)
    order = np.random.default_rng(seed).permutation(count).tolist()
    found = locally_optimal_tour(distances_between(points), order)
    length = tour_length(points, found)
    assert sorted(found) == list(range(count))
    assert length <= tour_length(points, order) + 1e-12
    for i in range(count):
        for j in range(i + 2, count + 1):
            turned = found[:i] + found[i:j][::-1] + found[j:]
            assert tour_length(points, turned) >= length - 1e-9
        for run in range(1, min(3, count - 2) + 1):
            around = found[i:] + found[:i]
            moved, rest = around[:run], around[run:]
            for cut in range(1, len(rest)):
                assert tour_length(points, rest[:cut] + moved + rest[cut:]) >= length - 1e-9
                assert tour_length(points, rest[:cut] + moved[::-1] + rest[cut:]) >= length - 1e-9


@given(seeds, st.integers(4, 30))
@settings(max_examples=60, deadline=None)
def test_two_corners_of_a_convex_polygon_swapped_make_it_cross_itself(seed, count):
    points = uniform(seed, count)
    hull = convex_hull(points)
    if len(hull) > 3:
        hull[0], hull[1] = hull[1], hull[0]
        assert not is_simple_polygon(points, hull)
