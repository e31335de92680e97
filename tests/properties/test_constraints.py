"""Whatever a model says, only well-formed answers come out; and every well-formed answer can."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.constraints import Constraint, HullConstraint, TourConstraint, TriangulationConstraint
from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from tests.fakes.markov import FIRST, SPECIAL, MarkovModel, random_table, source

seeds = st.integers(0, 2**32 - 1)


def answers(seed: int, point_count: int, constraint: Constraint, beam_size: int, max_length: int) -> list[list[int]]:
    """Decode random log-probs over `point_count` points; return each hypothesis' points."""
    vocabulary = FIRST + point_count
    model = MarkovModel([random_table(seed, vocabulary)])
    options = DecodingOptions(beam_size, max_length, vocabulary, SPECIAL, beam_size)
    (found,) = decode(model, [source()], options, [constraint])
    for h in found:
        assert h.finish_reason is FinishReason.END_OF_SEQUENCE
        assert h.tokens[-1] == SPECIAL.eos
        assert np.isfinite(h.score)
    return [[token - FIRST for token in h.tokens[:-1]] for h in found]


@settings(deadline=None)
@given(seeds, st.integers(1, 8), st.integers(1, 6))
def test_tours_are_permutations(seed, point_count, beam_size):
    for tour in answers(seed, point_count, TourConstraint(point_count, SPECIAL), beam_size, point_count):
        assert sorted(tour) == list(range(point_count))


@settings(deadline=None)
@given(seeds, st.integers(3, 8), st.integers(1, 6))
def test_hulls_have_three_corners_or_more_and_none_twice(seed, point_count, beam_size):
    for hull in answers(seed, point_count, HullConstraint(SPECIAL), beam_size, point_count):
        assert len(hull) >= 3
        assert len(set(hull)) == len(hull)


@settings(deadline=None)
@given(seeds, st.integers(3, 7), st.integers(1, 6))
def test_triangulations_are_whole_triangles_none_twice(seed, point_count, beam_size):
    constraint = TriangulationConstraint(point_count, FIRST, SPECIAL)
    most = 2 * point_count - 5
    for corners in answers(seed, point_count, constraint, beam_size, 3 * most):
        triangles = [frozenset(corners[i : i + 3]) for i in range(0, len(corners), 3)]
        assert 1 <= len(triangles) <= most
        assert all(len(triangle) == 3 for triangle in triangles)
        assert len(set(triangles)) == len(triangles)


def allows(constraint: Constraint, points: list[int]) -> bool:
    """Say whether a constraint lets an answer through, token by token, its end included."""
    tokens = [*(FIRST + point for point in points), SPECIAL.eos]
    return all(token not in constraint.banned(np.array([tokens[:i]], np.int64)) for i, token in enumerate(tokens))


@given(st.integers(1, 9).flatmap(lambda n: st.permutations(range(n))))
def test_every_tour_is_allowed(tour):
    assert allows(TourConstraint(len(tour), SPECIAL), tour)


@given(st.integers(3, 9).flatmap(lambda n: st.permutations(range(n))), st.data())
def test_every_hull_is_allowed(points, data):
    assert allows(HullConstraint(SPECIAL), points[: data.draw(st.integers(3, len(points)))])


@given(st.integers(3, 6), st.data())
def test_every_triangulation_is_allowed(point_count, data):
    every = list(itertools.combinations(range(point_count), 3))
    most = min(len(every), 2 * point_count - 5)
    triangles = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=most, unique=True))
    corners = [corner for triangle in triangles for corner in data.draw(st.permutations(triangle))]
    assert allows(TriangulationConstraint(point_count, FIRST, SPECIAL), corners)
