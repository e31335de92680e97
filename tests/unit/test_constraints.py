"""What each constraint bans, at every kind of step."""

import numpy as np
import pytest

from serving.decoding.constraints import HullConstraint, TourConstraint, TriangulationConstraint
from tests.fakes.markov import FIRST, SPECIAL

P0, P1, P2, P3, P4 = range(FIRST, FIRST + 5)
EOS = SPECIAL.eos


def banned(constraint, *rows):
    """Return what is banned after each of `rows`, as sets."""
    tokens = np.array(rows, np.int64).reshape(len(rows), -1)
    before = tokens.copy()
    found = constraint.banned(tokens)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(tokens, before)
    return [set(row) - {SPECIAL.pad} for row in found.tolist()]


def test_a_tour_bans_what_it_visited_and_the_end_until_all_are():
    tour = TourConstraint(3, SPECIAL)
    assert banned(tour, ()) == [{EOS}]
    assert banned(tour, (P1,), (P2,)) == [{P1, EOS}, {P2, EOS}]
    assert banned(tour, (P1, P0)) == [{P1, P0, EOS}]
    assert banned(tour, (P1, P0, P2)) == [{P0, P1, P2}]


def test_a_hull_bans_its_corners_and_the_end_until_there_are_three():
    hull = HullConstraint(SPECIAL)
    assert banned(hull, ()) == [{EOS}]
    assert banned(hull, (P1, P0)) == [{P1, P0, EOS}]
    assert banned(hull, (P1, P0, P2), (P0, P1, P4)) == [{P0, P1, P2}, {P0, P1, P4}]


def test_a_hull_never_takes_a_point_that_repeats_another():
    hull = HullConstraint(SPECIAL, repeats=(P4,))
    assert banned(hull, ()) == [{P4, EOS}]
    assert banned(hull, (P1, P0), (P2, P0)) == [{P1, P0, P4, EOS}, {P2, P0, P4, EOS}]
    assert banned(hull, (P1, P0, P2)) == [{P0, P1, P2, P4}]


def test_a_triangulation_begins_with_a_triangle_of_distinct_points():
    triangulation = TriangulationConstraint(5, FIRST, SPECIAL)
    assert banned(triangulation, ()) == [{EOS}]
    assert banned(triangulation, (P1,)) == [{P1, EOS}]
    assert banned(triangulation, (P1, P0)) == [{P1, P0, EOS}]


def test_a_triangulation_may_end_or_go_on_after_each_triangle():
    assert banned(TriangulationConstraint(5, FIRST, SPECIAL), (P0, P1, P2)) == [set()]


def test_a_triangle_does_not_come_twice_in_any_order_of_its_corners():
    triangulation = TriangulationConstraint(5, FIRST, SPECIAL)
    assert banned(triangulation, (P0, P1, P2, P2, P0)) == [{P0, P1, P2, EOS}]
    assert banned(triangulation, (P0, P1, P2, P3, P0), (P0, P1, P2, P1, P0)) == [{P0, P3, EOS}, {P0, P1, P2, EOS}]


def test_an_edge_that_has_a_triangle_with_every_other_point_is_used_up():
    """Four points: the edge 0-1 has its triangles with 2 and 3, so after 0 the point 1 leads nowhere."""
    triangulation = TriangulationConstraint(4, FIRST, SPECIAL)
    assert banned(triangulation, (P0, P1, P2, P0, P1, P3, P0)) == [{P0, P1, EOS}]
    assert banned(triangulation, (P0, P1, P2, P0, P1, P3, P2)) == [{P2, EOS}]


@pytest.mark.parametrize(("point_count", "most"), [(3, 1), (4, 3), (5, 5)])
def test_a_triangulation_ends_when_no_more_triangles_fit(point_count, most):
    """P points have at most 2P - 5 triangles; which ones they are does not matter here."""
    triangulation = TriangulationConstraint(point_count, FIRST, SPECIAL)
    points = set(range(FIRST, FIRST + point_count))
    assert banned(triangulation, (P0, P1, P2) * most) == [points]
    if most > 1:
        assert banned(triangulation, (P0, P1, P2) * (most - 1)) == [set()]
