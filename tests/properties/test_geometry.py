"""Geometry against scipy's, and against what holds for any points."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Delaunay

from serving.tasks.geometry import (
    convex_hull,
    is_simple_polygon,
    is_triangulation,
    on_one_line,
    orientation,
    polygon_area,
)

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
    assert is_triangulation(points, triangles)
    missing = np.random.default_rng(seed).integers(len(triangles))
    assert not is_triangulation(points, triangles[:missing] + triangles[missing + 1 :])


@given(grids)
@settings(max_examples=200, deadline=None)
def test_a_hull_on_a_grid_turns_left_at_every_corner_and_has_all_points_on_its_left(points):
    hull = points[convex_hull(points)]
    if on_one_line(points):
        assert len(hull) <= 2
        return
    following = np.roll(hull, -1, axis=0)
    assert (orientation(hull, following, np.roll(hull, -2, axis=0)) == 1).all()
    assert (orientation(hull[:, None], following[:, None], points[None]) >= 0).all()


@given(st.lists(st.tuples(*[st.floats(-1, 1, allow_subnormal=False)] * 2), min_size=3, max_size=3))
@settings(max_examples=300)
def test_an_orientation_has_the_sign_of_the_exact_determinant(points):
    (ax, ay), (bx, by), (cx, cy) = ((Fraction(x), Fraction(y)) for x, y in points)
    exact = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    first, second, third = (np.array([point]) for point in points)
    tiny = any(0 < abs(value) < 1e-120 for point in points for value in point)
    assert tiny or orientation(first, second, third)[0] == (exact > 0) - (exact < 0)


@given(seeds, st.integers(4, 30))
@settings(max_examples=60, deadline=None)
def test_two_corners_of_a_convex_polygon_swapped_make_it_cross_itself(seed, count):
    points = uniform(seed, count)
    hull = convex_hull(points)
    if len(hull) > 3:
        hull[0], hull[1] = hull[1], hull[0]
        assert not is_simple_polygon(points, hull)
