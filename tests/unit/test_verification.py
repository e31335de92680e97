"""Judgements of answers to a square with its centre, worked out by hand."""

import numpy as np
import pytest

from serving.tasks.verification import (
    HullJudge,
    JudgedHull,
    JudgedTour,
    JudgedTriangulation,
    Repair,
    Repaired,
    TourJudge,
    TriangulationJudge,
)

# Counter-clockwise from the lower left corner; then the centre, the middle of the lower edge, and the first corner again.
POINTS = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2], [1, 1], [1, 0], [0, 0]])
SQUARE = POINTS[:4]


@pytest.mark.parametrize(
    ("corners", "judged"),
    [
        ([0, 1, 2, 3], JudgedHull([0, 1, 2, 3], True, True, 4.0, 1.0)),
        ([2, 3, 6, 1], JudgedHull([2, 3, 6, 1], True, True, 4.0, 1.0)),  # the first corner by its other name
        ([3, 2, 1, 0], JudgedHull([3, 2, 1, 0], True, False, 4.0, 1.0)),  # clockwise
        ([0, 5, 1, 2, 3], JudgedHull([0, 5, 1, 2, 3], True, False, 4.0, 1.0)),  # a point on an edge is no corner
        ([0, 1, 2], JudgedHull([0, 1, 2], True, False, 2.0, 0.5)),
        ([0, 2, 1, 3], JudgedHull([0, 2, 1, 3], False, False, 0.0, 0.0)),
        ([], JudgedHull([], False, False, 0.0, 0.0)),
    ],
)
def test_a_hull_is_judged(corners, judged):
    assert HullJudge(POINTS).judge(corners) == judged


@pytest.mark.parametrize(("corners", "changes"), [([0, 1, 2], 1), ([0, 5, 1, 2], 2), ([3, 2, 1, 0], 0), ([], 4)])
def test_a_wrong_hull_is_replaced_by_the_right_one(corners, changes):
    assert HullJudge(POINTS).judge(corners, Repair.FIX) == JudgedHull(
        [0, 1, 2, 3], True, True, 4.0, 1.0, Repaired(changes)
    )


def test_a_right_answer_is_not_repaired():
    assert HullJudge(POINTS).judge([1, 2, 3, 0], Repair.FIX).repaired is None
    assert TriangulationJudge(SQUARE).judge([(1, 2, 3), (0, 1, 3)], Repair.FIX).repaired is None
    assert TourJudge(SQUARE).judge([1, 2, 3, 0], Repair.FIX) == JudgedTour([1, 2, 3, 0], True, 8.0, 1.0)


@pytest.mark.parametrize("triangles", [[(0, 1, 2), (0, 2, 3)], [(0, 1, 3), (1, 2, 3)]])
def test_both_ways_to_cut_a_square_are_delaunay(triangles):
    assert TriangulationJudge(SQUARE).judge(triangles) == JudgedTriangulation(triangles, True, True, 1.0)


def test_a_triangulation_that_leaves_a_point_out_is_valid_but_not_exact():
    judged = TriangulationJudge(POINTS[:5]).judge([(0, 1, 2), (0, 2, 3)])
    assert judged == JudgedTriangulation([(0, 1, 2), (0, 2, 3)], True, False, 0.0)


def test_a_triangulation_is_mended_around_what_is_right_of_it():
    """The centre and three corners make a triangle of the true ones; the long one over the centre is none."""
    judge = TriangulationJudge(POINTS[:5])
    wrong = [(0, 1, 4), (1, 2, 3)]
    assert judge.judge(wrong).triangle_coverage == 0.25
    fixed = judge.judge(wrong, Repair.FIX)
    assert fixed.triangles == [(0, 1, 4), (0, 3, 4), (1, 2, 4), (2, 3, 4)]
    assert fixed.repaired == Repaired(4)
    assert (fixed.valid, fixed.exact, fixed.triangle_coverage) == (True, True, 1.0)


def test_equal_points_stand_for_each_other_in_a_triangulation():
    points = POINTS[[0, 1, 2, 3, 6]]
    assert TriangulationJudge(points).judge([(1, 2, 4), (0, 2, 3)]).exact


def test_points_on_the_edge_of_the_hull_belong_to_a_delaunay_triangulation():
    points = POINTS[[0, 1, 2, 3, 5]]
    judge = TriangulationJudge(points)
    assert judge.judge([(0, 4, 3), (4, 2, 3), (4, 1, 2)]).exact
    left_out = judge.judge([(0, 1, 2), (0, 2, 3)])
    assert left_out.valid
    assert not left_out.exact


def test_a_tour_is_measured_against_what_local_search_makes_of_it():
    judged = TourJudge(SQUARE).judge([0, 2, 1, 3])
    assert judged.valid
    assert judged.length == pytest.approx(4 + 4 * 2**0.5)
    assert judged.length_over_two_opt == pytest.approx(judged.length / 8)
    fixed = TourJudge(SQUARE).judge([0, 2, 1, 3], Repair.FIX)
    assert fixed.length == 8.0
    assert fixed.length_over_two_opt == 1.0
    assert fixed.repaired == Repaired(2)


def test_no_tour_has_no_length_and_a_repair_completes_it():
    judge = TourJudge(SQUARE)
    assert judge.judge([0, 1]) == JudgedTour([0, 1], False, 0.0, 0.0)
    fixed = judge.judge([0, 2], Repair.FIX)
    assert (fixed.valid, fixed.length) == (True, 8.0)


def test_signs_that_float64_gets_wrong_are_decided():
    """Three points that rounding puts on a line, one of them off it by the last bit."""
    points = np.array([[0.5, 0.5], [12.0, 12.0], [24.0, 24.0], [12.0, np.nextafter(12.0, 13)]])
    assert HullJudge(points).judge([0, 2, 3]).exact
    assert not HullJudge(points).judge([0, 1, 2, 3]).exact
