"""Geometry on small cases worked out by hand."""

import math

import numpy as np
import pytest

from serving.tasks.geometry import (
    all_equal,
    convex_hull,
    hull_boundary,
    is_convex_polygon,
    is_permutation,
    is_simple_polygon,
    on_one_line,
    polygon_area,
    tour_length,
)
from serving.tasks.triangulation import Triangulations

# A unit square with its centre, counter-clockwise from the lower left corner.
SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("corners", "simple"),
    [
        ([0, 1, 2, 3], True),
        ([3, 2, 1, 0], True),
        ([0, 1, 4], True),
        ([0, 2, 1, 3], False),  # the bow tie
        ([0, 1, 2, 0], False),  # a corner twice
        ([0, 1], False),
        ([], False),
        ([0, 4, 2], False),  # all on one diagonal
        ([0, 2, 4, 3], False),  # runs to a corner and back over the centre
        ([0, 1, 2, 4, 3], True),  # not convex, but simple
    ],
)
def test_a_simple_polygon_is_one_that_does_not_touch_itself(corners, simple):
    assert is_simple_polygon(SQUARE, corners) is simple


def test_a_corner_in_the_middle_of_an_edge_leaves_a_polygon_simple():
    points = np.array([[0.0, 0], [1, 0], [2, 0], [2, 2]])
    assert is_simple_polygon(points, [0, 1, 2, 3])


def test_a_corner_that_touches_a_distant_edge_does_not():
    points = np.array([[0.0, 0], [4, 0], [4, 2], [2, 0], [0, 2]])
    assert not is_simple_polygon(points, [0, 1, 2, 3, 4])


def test_two_equal_points_make_no_edge():
    points = np.array([[0.0, 0], [0, 0], [1, 0], [0, 1]])
    assert not is_simple_polygon(points, [0, 1, 2, 3])
    assert is_simple_polygon(points, [1, 2, 3])


@pytest.mark.parametrize(
    ("corners", "convex"),
    [
        ([0, 1, 2, 3], True),
        ([2, 3, 0, 1], True),
        ([3, 2, 1, 0], False),  # clockwise
        ([0, 1, 2, 4, 3], False),
        ([0, 1, 4], True),
        ([0, 4, 2], False),
        ([0, 1], False),
        ([], False),
    ],
)
def test_a_convex_polygon_turns_left_everywhere(corners, convex):
    assert is_convex_polygon(SQUARE, corners) is convex


def test_a_star_turns_left_everywhere_but_goes_round_twice():
    angles = 2 * math.pi * np.arange(5) / 5
    points = np.column_stack([np.cos(angles), np.sin(angles)])
    assert is_convex_polygon(points, [0, 1, 2, 3, 4])
    assert not is_convex_polygon(points, [0, 2, 4, 1, 3])


def test_areas_and_lengths_are_in_the_points_units():
    assert polygon_area(1000 * SQUARE + 7, [0, 1, 2, 3]) == 1e6
    assert polygon_area(SQUARE, [0, 3, 2, 1]) == 1.0
    assert tour_length(3 * SQUARE, [0, 1, 2, 3]) == 12.0
    assert tour_length(SQUARE, [0, 4]) == pytest.approx(math.sqrt(2))


def test_a_tour_visits_every_point_once():
    assert is_permutation([2, 0, 1], 3)
    assert not is_permutation([0, 1], 3)
    assert not is_permutation([0, 1, 1], 3)
    assert not is_permutation([0, 1, 3], 3)


def test_the_hull_leaves_out_points_inside_and_on_edges_and_the_second_of_equals():
    points = np.concatenate([SQUARE, [[0.5, 0], [0, 0], [1, 1]]])
    assert convex_hull(points) == [0, 1, 2, 3]
    assert hull_boundary(points) == [0, 5, 1, 2, 3]


def test_points_on_the_left_and_right_borders_are_on_the_boundary():
    points = np.array([[0.0, 0], [0, 2], [0, 1], [3, 0], [3, 2], [3, 1]])
    assert convex_hull(points) == [0, 3, 4, 1]
    assert hull_boundary(points) == [0, 3, 5, 4, 1, 2]


@pytest.mark.parametrize(
    ("triangles", "valid"),
    [
        ([(0, 1, 4), (1, 2, 4), (2, 3, 4), (0, 3, 4)], True),
        ([(0, 1, 2), (0, 2, 3)], True),  # the centre unused, which the proto allows
        ([(0, 1, 4), (1, 2, 4), (2, 3, 4)], False),  # a hole
        ([(0, 1, 4), (1, 2, 4), (2, 3, 4), (0, 3, 4), (0, 1, 4)], False),  # a triangle twice
        ([(0, 1, 4), (1, 2, 4), (2, 3, 4), (0, 3, 4), (0, 1, 2)], False),  # overlap
        ([(0, 1, 2), (0, 3, 4), (2, 3, 4)], False),  # two short edges against a long one
        ([(0, 2, 4), (0, 1, 2), (0, 2, 3)], False),  # no area
        ([(0, 1, 1), (0, 1, 2), (0, 2, 3)], False),
        ([(0, 1, 2)], False),
        ([], False),
    ],
)
def test_a_triangulation_covers_the_hull_once_edge_to_edge(triangles, valid):
    assert Triangulations(SQUARE).is_triangulation(triangles) is valid


def test_a_star_whose_edges_cross_the_inside_is_no_triangulation():
    angles = 2 * math.pi * np.arange(5) / 5
    points = np.concatenate([np.column_stack([np.cos(angles), np.sin(angles)]), [[0.0, 0.0]]])
    assert not Triangulations(points).is_triangulation([(i, (i + 2) % 5, 5) for i in range(5)])
    assert Triangulations(points).is_triangulation([(i, (i + 1) % 5, 5) for i in range(5)])


def test_two_triangulations_without_a_common_edge_on_top_of_each_other_are_none():
    middles = np.array([[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]])
    points = np.concatenate([SQUARE, middles])
    coarse = [(0, 1, 2), (0, 2, 3)]
    around = [0, 5, 1, 6, 2, 7, 3, 8]
    fine = [(a, b, 4) for a, b in zip(around, around[1:] + around[:1], strict=True)]
    assert Triangulations(points).is_triangulation(coarse)
    assert Triangulations(points).is_triangulation(fine)
    assert not Triangulations(points).is_triangulation(coarse + fine)


def test_equal_points_count_as_one_in_a_triangulation():
    points = np.concatenate([SQUARE, [[0.0, 0.0]]])
    assert Triangulations(points).is_triangulation([(0, 1, 2), (2, 3, 5)])


@pytest.mark.parametrize("scale", [1e-140, 1.0, 1e140])
@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], True),
        ([[0.0, 0.1], [1.0, 0.4], [3.0, 1.0], [0.3, 0.19]], True),  # on y = 0.3 x + 0.1 but for rounding
        ([[5.0, 5.0], [5.0, 5.0], [7.0, 1.0]], True),
        ([[0.0, 0.0], [1.0, 0.0], [0.5, 1e-6]], False),
        ([[1e6, 1e6], [1e6 + 1, 1e6], [1e6, 1e6 + 1]], False),
    ],
)
def test_points_on_one_line_are_told_at_any_scale(points, line, scale):
    assert on_one_line(scale * np.array(points)) is line


def test_all_equal_is_told_exactly():
    assert all_equal(np.full((4, 2), 0.1))
    assert not all_equal(np.array([[0.1, 0.1], [0.1, np.nextafter(0.1, 1)]]))
