"""Whatever a model says, hulls come out convex and triangulations whole; and no right answer is ever banned."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.constraints import Chosen, Constraint
from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.tasks.geometry import convex_hull, is_convex_polygon, on_one_line, repeats
from serving.tasks.triangulation import Triangulations
from serving.tasks.well_formed import ConvexRule, TriangulationRule
from tests.fakes.markov import FIRST, SPECIAL, MarkovModel, random_table, source
from training.problems.delaunay import triangle_sequences
from training.problems.hull import hull_corners

seeds = st.integers(0, 2**32 - 1)
beams = st.integers(1, 5)
small = st.integers(-2, 2)
grids = st.lists(st.tuples(small, small), min_size=3, max_size=9).map(lambda points: np.array(points, dtype=float))
uniform = st.tuples(seeds, st.integers(3, 12)).map(lambda drawn: np.random.default_rng(drawn[0]).random((drawn[1], 2)))
point_sets = (grids | uniform).filter(lambda points: not on_one_line(points))


def answers(seed: int, points: np.ndarray, constraint: Constraint, beam_size: int) -> list[list[int]]:
    """Decode random log-probs; return each hypothesis' points."""
    vocabulary = FIRST + len(points)
    model = MarkovModel([random_table(seed, vocabulary)])
    options = DecodingOptions(beam_size, 6 * len(points), vocabulary, SPECIAL, beam_size)
    (found,) = decode(model, [source()], options, [constraint])
    assert all(h.finish_reason is FinishReason.END_OF_SEQUENCE for h in found), "no dead end"
    return [[token - FIRST for token in h.tokens[:-1]] for h in found]


def banned_at(constraint: Constraint, points: list[int]) -> int | None:
    """Return the place of the first token of an answer, its end included, that a constraint does not let through."""
    tokens = np.array([[*(FIRST + point for point in points), SPECIAL.eos]])
    places = range(tokens.shape[1])
    return next((place for place in places if tokens[0, place] in constraint.banned(tokens[:, :place])), None)


@settings(deadline=None)
@given(point_sets, seeds, beams, st.booleans())
def test_hulls_are_convex_polygons(points, seed, beam_size, mirrored):
    for corners in answers(seed, points, ConvexRule(points, FIRST, SPECIAL, mirrored=mirrored), beam_size):
        assert is_convex_polygon(points, corners[::-1] if mirrored else corners)
        assert not set(corners) & set(repeats(points).tolist())


@settings(deadline=None)
@given(point_sets, st.data(), st.booleans())
def test_the_hull_is_allowed_from_any_corner(points, data, mirrored):
    hull = convex_hull(points)
    start = data.draw(st.integers(0, len(hull) - 1))
    corners = hull[start:] + hull[:start]
    assert (
        banned_at(ConvexRule(points, FIRST, SPECIAL, mirrored=mirrored), corners[::-1] if mirrored else corners) is None
    )


@settings(deadline=None)
@given(point_sets, seeds, st.booleans())
def test_from_the_third_corner_on_just_what_leaves_a_convex_polygon_is_allowed(points, seed, mirrored):
    rule, turn = ConvexRule(points, FIRST, SPECIAL, mirrored=mirrored), -1 if mirrored else 1
    (corners,) = answers(seed, points, rule, 1)
    never = set(repeats(points).tolist())
    for begun in (corners[:length] for length in range(2, len(corners))):
        banned = set(rule.banned(np.array([begun]) + FIRST)[0].tolist())
        for point in range(len(points)):
            fits = point not in never and is_convex_polygon(points, [*begun, point][::turn])
            assert (FIRST + point not in banned) == fits


@settings(deadline=None)
@given(st.lists(st.tuples(point_sets, seeds, st.booleans()), min_size=1, max_size=4), st.data())
def test_rules_asked_together_say_what_each_says_alone(requests, data):
    rules = [ConvexRule(points, FIRST, SPECIAL, mirrored=mirrored) for points, _, mirrored in requests]
    begun, owner = [], []
    for number, (rule, (points, seed, _)) in enumerate(zip(rules, requests, strict=True)):
        for corners in answers(seed, points, rule, 3)[: data.draw(st.integers(1, 3))]:
            begun.append([FIRST + corner for corner in corners[: data.draw(st.integers(0, len(corners) - 1))]])
            owner.append(number)
    width = max(map(len, begun)) + data.draw(st.integers(0, 2))
    tokens = np.array([[SPECIAL.pad] * (width - len(one)) + one for one in begun], np.int64).reshape(len(begun), width)
    together = ConvexRule.joint(rules).banned(Chosen(tokens, np.array([len(one) for one in begun]), np.array(owner)))
    for banned, one, number in zip(together, begun, owner, strict=True):
        alone = rules[number].banned(np.array([one], np.int64).reshape(1, -1))
        assert set(banned.tolist()) | {SPECIAL.pad} == set(alone[0].tolist()) | {SPECIAL.pad}


@settings(deadline=None)
@given(point_sets, seeds, beams)
def test_triangulations_cover_the_hull_with_all_points(points, seed, beam_size):
    known = Triangulations(points)
    for corners in answers(seed, points, TriangulationRule(points, FIRST, SPECIAL), beam_size):
        triangles = list(zip(*(iter(corners),) * 3, strict=True))
        assert len(triangles) == known.triangle_count
        assert known.is_triangulation(triangles)


@settings(deadline=None)
@given(point_sets, st.randoms(use_true_random=False))
def test_the_delaunay_triangulation_is_allowed_in_any_order(points, random):
    triangles = [random.sample(triangle, 3) for triangle in Triangulations(points).cells.triangles]
    random.shuffle(triangles)
    rule = TriangulationRule(points, FIRST, SPECIAL)
    assert banned_at(rule, [corner for triangle in triangles for corner in triangle]) is None


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(4, 30))
def test_what_models_are_trained_on_is_allowed(seed, count):
    points = np.random.default_rng(seed).random((1, count, 2))
    assert banned_at(ConvexRule(points[0], FIRST, SPECIAL), hull_corners(points)[0]) is None
    if count <= 15:
        assert banned_at(TriangulationRule(points[0], FIRST, SPECIAL), triangle_sequences(points)[0]) is None


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(65, 80))
def test_more_points_than_a_word_has_bits(seed, count):
    points = np.random.default_rng(seed).random((count, 2))
    triangles = Triangulations(points).cells.triangles
    rule = TriangulationRule(points, FIRST, SPECIAL)
    assert banned_at(rule, [corner for triangle in triangles for corner in triangle]) is None


@settings(deadline=None)
@given(point_sets, seeds)
def test_a_rule_is_a_function_of_the_tokens_alone(points, seed):
    """What it keeps for later changes nothing: another that was never asked before says the same."""
    (corners,) = answers(seed, points, rule := TriangulationRule(points, FIRST, SPECIAL), 1)
    tokens = np.array([[FIRST + corner for corner in corners]])
    for length in range(tokens.shape[1], -1, -1):
        fresh = TriangulationRule(points, FIRST, SPECIAL).banned(tokens[:, :length])
        np.testing.assert_array_equal(rule.banned(tokens[:, :length]), fresh)


SQUARE = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2], [1, 0], [1, 1]])


@pytest.mark.parametrize(
    ("begun", "allowed"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        ([0], [1, 2, 4, 5]),  # from 0 to 3 there is nothing on the left
        ([1], [2, 3, 5]),  # back along the lower edge neither
        ([0, 4], [2, 3, 5]),
        ([0, 1], [2, 3, 5]),
        ([0, 1, 2], [3, "end"]),
        ([0, 4, 5], ["end", 3]),  # 2 is straight on from 0 over 5; 3 is left of everything
    ],
)
def test_the_next_corner_leaves_a_convex_polygon(begun, allowed):
    assert remaining(ConvexRule(SQUARE, FIRST, SPECIAL), begun) == set(allowed)


@pytest.mark.parametrize(
    ("begun", "allowed"),
    [
        ([0, 1], []),  # never asked for: 4 lies between them
        ([0], [3, 4, 5]),
        ([0, 4, 5, 0], [3, 5]),  # from 0 to 4 both sides are done with
        ([0, 4, 5, 0, 5], [3]),
        ([0, 3, 4, 5], [1, 2, 3, 4]),  # 0 lies behind the edge from 3 to 4
        ([0, 4, 5, 4, 1, 5, 1, 2, 5, 2, 3, 5, 3, 0, 5], ["end"]),
    ],
)
def test_the_next_corner_goes_on_with_a_triangulation(begun, allowed):
    assert remaining(TriangulationRule(SQUARE, FIRST, SPECIAL), begun) == set(allowed)


def remaining(rule: Constraint, begun: list[int]) -> set:
    banned = set(rule.banned(np.array([begun], np.int64).reshape(1, -1) + FIRST)[0].tolist())
    names = {SPECIAL.eos: "end"} | {FIRST + point: point for point in range(len(SQUARE))}
    return {name for token, name in names.items() if token not in banned}
