"""Payloads become tensors, hypotheses become answers; the rest is refused with the field, what was given and what is allowed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.errors import BadBundle, InvalidRequest
from serving.tasks.captioning import Captioning
from serving.tasks.options import RequestedOptions
from serving.tasks.pointing import ConvexHull, Delaunay, Tour
from serving.tasks.translation import Translation
from tests.fakes.bundles import BEAM_LIMIT, MAX_LENGTH, SOURCE_LIMIT, write_bundle

EOS, FIRST = 2, 3
SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def translation(models):
    return Translation(write_bundle(models, "translation"))


@pytest.fixture(scope="module")
def hull(models):
    return ConvexHull(write_bundle(models, "convex_hull"))


@pytest.fixture(scope="module")
def delaunay(models):
    return Delaunay(write_bundle(models, "delaunay"))


@pytest.fixture(scope="module")
def tour(models):
    return Tour(write_bundle(models, "tour"))


@pytest.fixture(scope="module")
def pointing(hull, delaunay, tour):
    return hull, delaunay, tour


def found(*tokens: int) -> Hypothesis:
    return Hypothesis(tokens, (0.0,) * len(tokens), 0.0, 0.0, FinishReason.END_OF_SEQUENCE)


def refusal(call, *arguments) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        call(*arguments)
    return caught.value


def test_text_becomes_pieces_and_the_end_of_the_sequence(translation):
    source = translation.source("ein hund läuft")
    tokens = source.inputs["source_tokens"]
    assert tokens.dtype == np.int64
    assert tokens[-1] == EOS
    assert source.inputs["source_lengths"] == len(tokens) == source.length
    assert "".join(translation.source_pieces(source)) == "▁ein▁hund▁läuft</s>"


def test_a_hypothesis_becomes_text_without_the_end_of_the_sequence(translation):
    tokens = translation.source("zwei kinder").inputs["source_tokens"].tolist()  # both sides have the same sentences
    assert translation.text(found(*tokens)) == "zwei kinder"
    assert translation.pieces(tokens)[-1] == "</s>"


@pytest.mark.parametrize(
    "text", ["a\x00b", "\x07 hund", "hund \U0001f415", "\u202ehund", "مرحبا", "ｈｕｎｄ", "e\u0301in"]
)
def test_odd_characters_are_read_as_the_tokenizer_sees_fit(translation, text):
    assert translation.source(text).length >= 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text: empty; allowed: at least one character that is not white space"),
        (" \t\n\u00a0", "text: 4 characters of white space; allowed: at least one character that is not white space"),
        ("\u200b\ufffd", "text: only characters that the model drops; allowed: at least one that it reads"),
        ("x" * 100_000, "text: 100,000 characters; allowed: up to 10,000 characters"),
    ],
)
def test_text_without_anything_to_translate_or_with_too_much_is_refused(translation, text, message):
    assert str(refusal(translation.source, text)) == message


def test_text_of_more_pieces_than_the_encoder_takes_is_refused(translation):
    assert translation.source(" ".join(["ein"] * (SOURCE_LIMIT - 1))).length == SOURCE_LIMIT
    error = refusal(translation.source, " ".join(["ein"] * SOURCE_LIMIT))
    assert (
        str(error)
        == f"text: {SOURCE_LIMIT} subword pieces; allowed: up to {SOURCE_LIMIT - 1} subword pieces; send shorter texts"
    )


def test_a_tokenizer_that_is_none_or_not_the_manifests_is_a_bad_bundle(tmp_path):
    bundle = write_bundle(tmp_path, "translation")
    vocabulary = bundle.manifest.vocabulary.model_copy(update={"size": 77})
    other = replace(bundle, manifest=bundle.manifest.model_copy(update={"vocabulary": vocabulary}))
    with pytest.raises(BadBundle, match=r"target\.model: \d+ pieces, the manifest says vocabulary\.size 77"):
        Translation(other)
    (bundle.folder / "source.model").write_bytes(b"altered since it was loaded")
    with pytest.raises(BadBundle, match=r"source\.model: not a sentencepiece model"):
        Translation(bundle)


def test_captioning_gives_pixels_of_the_bundles_size_and_knows_its_grid(models):
    captioning = Captioning(write_bundle(models, "captioning"))
    assert captioning.grid == (2, 3)
    assert refusal(captioning.source, b"text").field == "image"


def test_points_keep_their_coordinates(hull):
    source = hull.source(SQUARE)
    assert source.inputs["points"].dtype == np.float64
    assert source.inputs["points"].tolist() == [list(point) for point in SQUARE]
    assert source.inputs["point_counts"] == source.length == 4
    assert source.vocabulary_size == FIRST + 4


def test_tokens_become_indices_and_triangles(hull, delaunay):
    assert hull.indices(found(5, 3, 4, EOS)) == [2, 0, 1]
    assert hull.pieces([5, 3, EOS]) == ["2", "0", "</s>"]
    assert delaunay.triangles(found(5, 3, 4, 6, 4, 3, EOS)) == [(0, 1, 2), (0, 1, 3)]
    assert delaunay.triangles(found(5, 3, 4, 6)) == [(0, 1, 2)], "a search cut short"


def test_duplicates_are_fine(pointing):
    for task in pointing:
        assert task.source([*SQUARE, *SQUARE]).length == 8


def test_a_hull_knows_a_corner_by_its_first_name(hull):
    source = hull.source([(0.0, 0.0), (1.0, 0.0), (-0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
    assert source.scorable.repeats == (FIRST + 2, FIRST + 4)
    assert {FIRST + 2, FIRST + 4} <= set(source.constraint.banned(np.empty((1, 0), np.int64))[0].tolist())
    assert hull.source(SQUARE).scorable.repeats == ()


@pytest.mark.parametrize(
    ("points", "field", "message"),
    [
        ([], "points", "0 points; allowed: from 3 to 20 points"),
        (SQUARE[:1], "points", "1 points; allowed: from 3 to 20 points"),
        (SQUARE[:2], "points", "2 points; allowed: from 3 to 20 points"),
        (SQUARE * 6, "points", "24 points; allowed: from 3 to 20 points"),
        ([*SQUARE[:3], (math.nan, 0.0)], "points[3].x", "nan; allowed: a finite number from -1e+150 to 1e+150"),
        ([(0.0, math.inf), *SQUARE], "points[0].y", "inf; allowed: a finite number"),
        ([(0.0, -2e150), *SQUARE], "points[0].y", "-2e+150; allowed: a finite number"),
        ([(0.1, 0.2)] * 5, "points", "all points equal; allowed: "),
    ],
)
def test_points_that_no_task_can_answer_are_refused(pointing, points, field, message):
    for task in pointing:
        error = refusal(task.source, points)
        assert error.field == field
        assert message in str(error)


def test_points_on_one_line_have_a_tour_but_neither_hull_nor_triangulation(hull, delaunay, tour):
    line = [(0.1 * i, 0.3 * i + 0.1) for i in range(5)]
    assert tour.source(line).length == 5
    for task in (hull, delaunay):
        assert "all points on one line; allowed: points that are not all on one line" in str(refusal(task.source, line))


def test_coordinates_of_any_allowed_size_are_taken(hull):
    for scale in (1e-150, 1e149):
        assert hull.source([(scale * x, scale * y) for x, y in SQUARE]).length == 4


def test_options_left_out_take_the_models_defaults(translation):
    source = translation.source("ein hund")
    options = translation.plan(RequestedOptions(), source).options
    assert (options.beam_size, options.hypothesis_count, options.length_penalty) == (2, 1, 1.0)
    assert (options.min_length, options.max_length) == (0, source.length + 2)
    assert options.vocabulary_size == source.vocabulary_size
    assert not options.attention


def test_options_given_are_taken(translation):
    requested = RequestedOptions(BEAM_LIMIT, BEAM_LIMIT, 0.0, MAX_LENGTH, MAX_LENGTH, attention=True)
    options = translation.plan(requested, translation.source("ein hund")).options
    assert (options.beam_size, options.hypothesis_count, options.length_penalty) == (BEAM_LIMIT, BEAM_LIMIT, 0.0)
    assert (options.min_length, options.max_length, options.attention) == (MAX_LENGTH, MAX_LENGTH, True)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"beam_size": 0}, "options.beam_size: 0; allowed: from 1 to 8"),
        ({"beam_size": -1}, "options.beam_size: -1; allowed: from 1 to 8"),
        ({"beam_size": 10_000}, "options.beam_size: 10000; allowed: from 1 to 8"),
        ({"hypothesis_count": 0}, "options.hypothesis_count: 0; allowed: from 1 to beam_size, 2 here"),
        ({"beam_size": 4, "hypothesis_count": 5}, "options.hypothesis_count: 5; allowed: from 1 to beam_size, 4 here"),
        ({"length_penalty": -0.1}, "options.length_penalty: -0.1; allowed: from 0 to 5"),
        ({"length_penalty": 5.5}, "options.length_penalty: 5.5; allowed: from 0 to 5"),
        ({"length_penalty": math.nan}, "options.length_penalty: nan; allowed: from 0 to 5"),
        ({"max_length": 0}, "options.max_length: 0; allowed: from 1 to 30"),
        ({"max_length": 31}, "options.max_length: 31; allowed: from 1 to 30"),
        ({"min_length": -1}, "options.min_length: -1; allowed: from 0 to max_length"),
        ({"min_length": 9, "max_length": 8}, "options.min_length: 9; allowed: from 0 to max_length, 8 here"),
    ],
)
def test_options_out_of_range_are_refused_with_the_range(translation, requested, message):
    error = refusal(translation.plan, RequestedOptions(**requested), translation.source("ein hund"))
    assert str(error).startswith(message)
