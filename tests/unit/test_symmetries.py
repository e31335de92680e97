"""Points in the square's eight symmetries, and the best of what was found in several of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.errors import InvalidRequest
from serving.manifest import Manifest
from serving.tasks.options import RequestedOptions, RequestedSampling
from serving.tasks.pointing import ConvexHull, Delaunay, Tour
from serving.tasks.symmetries import SYMMETRIES, mirrors, transformed
from tests.fakes.bundles import write_bundle

SQUARE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
FIRST, EOS = 3, 2
TWO = RequestedOptions(beam_size=2, hypothesis_count=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def hull(models):
    return ConvexHull(write_bundle(models, "convex_hull"))


@pytest.fixture(scope="module")
def delaunay(models):
    return Delaunay(write_bundle(models, "delaunay"))


@pytest.fixture(scope="module")
def tour(models):
    return Tour(write_bundle(models, "tour"))


def said(points, score: float, reason: FinishReason = FinishReason.END_OF_SEQUENCE) -> Hypothesis:
    tokens = tuple(FIRST + point for point in points)
    if reason is FinishReason.END_OF_SEQUENCE:
        tokens = (*tokens, EOS)
    return Hypothesis(tokens, (score / len(tokens),) * len(tokens), score, score, reason)


def test_the_eight_are_different_and_keep_distances_and_half_of_them_turn_left_to_right():
    points = np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 2.0]])
    seen = [transformed(points, symmetry) for symmetry in SYMMETRIES]
    assert len({one.tobytes() for one in (0.0 + view for view in seen)}) == 8
    for symmetry, view in zip(SYMMETRIES, seen, strict=True):
        away = view[1:] - view[0]
        assert np.hypot(*away.T).tolist() == [math.hypot(3, 1), math.hypot(1, 2)]
        assert (np.linalg.det(away) < 0) == mirrors(symmetry)
    assert [mirrors(symmetry) for symmetry in SYMMETRIES] == [False] * 4 + [True] * 4
    assert SYMMETRIES[0] == 0


def test_the_encoder_gets_the_points_transformed_and_answers_are_for_the_points_as_they_are(hull):
    source = hull.source(SQUARE, 1)
    np.testing.assert_array_equal(source.inputs["points"], SQUARE * [-1, 1])
    np.testing.assert_array_equal(source.points, SQUARE)
    assert hull.answer(said([1, 0, 3, 2], 0.0), source) == [1, 2, 3, 0], "counter-clockwise again, from the same corner"
    assert hull.answer(said([0, 1, 2, 3], 0.0), hull.source(SQUARE, 3)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("given", "count"), [(0, 1), (1, 1), (5, 5), (8, 8)])
def test_a_request_may_ask_for_up_to_eight(hull, given, count):
    assert hull.symmetries(given, RequestedOptions()) == SYMMETRIES[:count]


def test_the_model_has_a_default_of_its_own(models):
    bundle = write_bundle(models, "tour", version="8")
    content = bundle.manifest.model_dump(mode="json")
    content["defaults"]["symmetries"] = 8
    tour = Tour(replace(bundle, manifest=Manifest.model_validate(content)))
    assert tour.symmetries(0, RequestedOptions()) == SYMMETRIES
    assert tour.symmetries(2, RequestedOptions()) == SYMMETRIES[:2]
    assert tour.symmetries(0, RequestedOptions(target_prefix_tokens=(3,))) == (0,), (
        "a prefix is for the points as they are"
    )


def test_only_points_have_symmetries(models):
    content = write_bundle(models, "translation").manifest.model_dump(mode="json")
    content["defaults"]["symmetries"] = 2
    with pytest.raises(ValidationError, match=r"defaults.symmetries: 2; allowed: 1"):
        Manifest.model_validate(content)


@pytest.mark.parametrize("given", [-1, 9])
def test_there_are_no_more_than_eight(hull, given):
    with pytest.raises(
        InvalidRequest, match=f"symmetries: {given}; allowed: from 1 to 8, or 0 for the model's default"
    ):
        hull.symmetries(given, RequestedOptions())


@pytest.mark.parametrize("options", [{"target_prefix_tokens": (3,)}, {"alternatives": True}])
def test_what_speaks_of_the_order_goes_with_one_alone(hull, options):
    (name,) = options
    with pytest.raises(InvalidRequest, match=f"symmetries: 2; allowed: 1 together with options.{name}"):
        hull.symmetries(2, RequestedOptions(**options))


def test_the_likeliest_hulls_of_all_are_answered_each_once(hull):
    plain, mirrored = hull.source(SQUARE), hull.source(SQUARE, 1)
    found = [
        (plain, [said([0, 1, 2, 3], -2.0), said([0, 1, 2], -3.0)]),
        (mirrored, [said([1, 0, 3, 2], -1.0), said([1, 0, 3], -2.5)]),
    ]
    best = hull.best(found, RequestedOptions(beam_size=4, hypothesis_count=4))
    assert [one.answer for one in best] == [[1, 2, 3, 0], [1, 3, 0], [0, 1, 2]]
    assert [one.hypothesis.score for one in best] == [-1.0, -2.5, -3.0]
    assert len(hull.best(found, RequestedOptions())) == 1


def test_what_was_cut_short_comes_behind_what_ended(delaunay):
    sources = [delaunay.source(SQUARE, symmetry) for symmetry in SYMMETRIES[:2]]
    cut, whole = said([0, 1], -0.1, FinishReason.MAX_LENGTH), said([0, 1, 2, 0, 2, 3], -9.0)
    best = delaunay.best([(sources[0], [cut]), (sources[1], [whole])], TWO)
    assert [one.answer for one in best] == [[(0, 1, 2), (0, 2, 3)], []]


def test_the_shortest_tour_comes_first_whatever_its_score_and_each_once(tour):
    found = [(tour.source(SQUARE), [said([0, 2, 1, 3], -1.0), said([0, 1, 2, 3], -2.0), said([2, 1, 0, 3], -3.0)])]
    best = tour.best(found, RequestedOptions(beam_size=3, hypothesis_count=3))
    assert [one.answer for one in best] == [[0, 1, 2, 3], [0, 2, 1, 3]]


def test_samples_are_answered_even_when_they_are_equal(tour):
    found = [(tour.source(SQUARE), [said([0, 2, 1, 3], -1.0), said([0, 1, 2, 3], -2.0), said([0, 1, 2, 3], -2.0)])]
    best = tour.best(found, RequestedOptions(hypothesis_count=3, sampling=RequestedSampling()))
    assert [one.answer for one in best] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 2, 1, 3]]


def test_a_search_for_one_tour_finds_the_whole_beam(tour):
    sources = [tour.source(SQUARE, symmetry) for symmetry in SYMMETRIES[:2]]
    plans = tour.plans(RequestedOptions(beam_size=3), sources)
    assert [plan.options.hypothesis_count for plan in plans] == [3, 3]
    (sampled,) = tour.plans(RequestedOptions(hypothesis_count=2, sampling=RequestedSampling(seed=1)), sources[:1])
    assert sampled.options.hypothesis_count == 2


def test_all_symmetries_are_searched_with_the_same_seed(tour):
    sources = [tour.source(SQUARE, symmetry) for symmetry in SYMMETRIES]
    plans = tour.plans(RequestedOptions(sampling=RequestedSampling()), sources)
    assert len({plan.options.sampling.seed for plan in plans}) == 1
