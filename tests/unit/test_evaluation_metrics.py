"""Corpus metrics against values worked out on paper."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from export.evaluation.caption_metrics import caption_tokens, cider_d, corpus_bleu, score_captions
from export.evaluation.instances import Instance, Triangle, as_tour, parse_instance
from export.evaluation.lines import BadData
from export.evaluation.pointing_metrics import (
    Figures,
    delaunay_triangles,
    reference_hull,
    reference_triangulation,
    score_hulls,
    score_tours,
    score_triangulations,
)
from export.evaluation.translation_metrics import score_translations, target_language
from serving.errors import BadConfiguration

WITH_A_CENTRE = "0 0 4 0 4 4 0 4 2 1"


def instance(output: str | None = None, points: str = WITH_A_CENTRE) -> Instance:
    return parse_instance(points if output is None else f"{points} output {output}", "here")


def test_lower_tokenized_bleu_ignores_case_and_the_others_do_not():
    scores = score_translations(["Ein HUND läuft durch das Gras."], ["ein Hund läuft durch das Gras."], "de")
    assert scores.bleu_lower_tokenized == pytest.approx(100)
    # 5 of 7 tokens match, 4 of 6 pairs, 3 of 5 triples, 2 of 4 quadruples.
    assert scores.bleu_13a == pytest.approx(100 * (1 / 7) ** (1 / 4))
    assert 0 < scores.chrf < 100


def test_lower_tokenized_bleu_counts_moses_tokens():
    # Tokens: ein hund , der bellt . / ein hund , der schläft . Matches of 1- to 4-grams: 5/6, 3/5, 2/4, 1/3.
    scores = score_translations(["Ein Hund, der bellt."], ["Ein Hund, der schläft."], "de")
    assert scores.bleu_lower_tokenized == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4))


def test_a_missing_translation_costs_brevity_and_nothing_breaks():
    sentence = "ein mann steht auf einem berg"
    scores = score_translations([sentence, ""], [sentence, sentence], "de")
    assert scores.bleu_lower_tokenized == pytest.approx(100 * math.exp(1 - 12 / 6))


def test_each_metric_says_how_it_was_computed():
    notes = score_translations(["a"], ["a"], "fr").notes
    assert "sacremoses tokens (fr)" in notes[0]
    assert "tok:13a" in notes[1]
    assert "nc:6|nw:0" in notes[2]


@pytest.mark.parametrize(
    ("name", "given", "language"),
    [
        ("translation-en-fr", None, "fr"),
        ("translation-en-fr", "cs", "cs"),
        ("reverse", None, "de"),
        ("a-en-qq", None, "de"),
    ],
)
def test_the_target_language_comes_from_the_option_then_the_name(name, given, language):
    assert target_language(name, given) == language


def test_an_unknown_target_language_is_refused():
    with pytest.raises(BadConfiguration, match=r"--target-language: 'klingon'; allowed: .*de, "):
        target_language("translation-en-de", "klingon")


def test_caption_tokens_are_lower_case_words_with_contractions_apart():
    text = "A man's T-shirt, 3.5 m wide; they don't \"look\" -- it's John’s ."
    words = "a man 's t-shirt 3.5 m wide they do n't look it 's john 's"
    assert caption_tokens(text) == tuple(words.split())


def test_bleu_is_cumulative_and_unsmoothed():
    # 1-grams 4/5, 2-grams 2/4, 3-grams 1/3, 4-grams 0.
    candidates, references = [tuple("abcxe")], [[tuple("abcde")]]
    expected = [80, 100 * math.sqrt(4 / 5 * 2 / 4), 100 * (4 / 5 * 2 / 4 * 1 / 3) ** (1 / 3), 0]
    assert [corpus_bleu(candidates, references, order) for order in range(1, 5)] == pytest.approx(expected)


def test_bleu_clips_counts_to_the_best_reference_and_takes_the_closest_length():
    # "a a a b": a twice at most in one reference, b once: 3/4. Lengths 3 and 6 are off by 1 and 2: no brevity penalty.
    assert corpus_bleu([tuple("aaab")], [[tuple("aab"), tuple("acdefg")]], 1) == pytest.approx(75)
    # Of lengths 3 and 5, equally close to 4, the shorter counts; a second image may have fewer references.
    candidates, references = [tuple("abcd"), tuple("abcd")], [[tuple("abc"), tuple("abcde")], [tuple("abcdef")]]
    assert corpus_bleu(candidates, references, 1) == pytest.approx(100 * math.exp(1 - 9 / 8))


def test_cider_is_as_worked_out_on_paper():
    # "a" is in both images and weighs 0; every other n-gram is in one and weighs log 2.
    # Image 1: cosines 1, 1, 1 and no 4-gram: 3/4. Image 2: of 2 weights each, one is shared in 1- and 2-grams: (1/2 + 1/2) / 4.
    candidates = [("a", "dog", "runs"), ("a", "cat", "runs")]
    references = [[("a", "dog", "runs")], [("a", "cat", "sleeps")]]
    assert cider_d(candidates, references) == pytest.approx(10 * (3 / 4 + 1 / 4) / 2)


def test_cider_clips_repeated_words_and_penalises_length():
    # Image 1: 1-grams (x, x) against (x): 2 and 1 times log 2, clipped to 1: 1 * 1 / (2 * 1); one word too long.
    candidates = [("x", "x"), ("y",)]
    references = [[("x",)], [("y",)]]
    first = 10 * (1 / 2) / 4 * math.exp(-1 / 72)
    assert cider_d(candidates, references) == pytest.approx((first + 10 / 4) / 2)


def test_cider_averages_over_the_references_of_an_image():
    candidates = [("x",), ("y",)]
    references = [[("x",), ("z",)], [("y",)]]
    assert cider_d(candidates, references) == pytest.approx((10 / 4 / 2 + 10 / 4) / 2)


def test_captions_are_scored_in_percent():
    scores = score_captions(["A dog runs on the grass ."] * 2, [["a dog runs on the grass"], ["a cat sleeps on a mat"]])
    assert scores.bleu[0] == pytest.approx(100 * (6 + 2) / 12)
    # Each image's n-grams but "on" and "a" weigh the same; the second answer shares none of weight with its reference.
    assert scores.cider == pytest.approx(100 * 10 / 2)


def hull_figures(instances: Sequence[Instance], answers: Sequence[Sequence[int]]) -> Figures:
    return score_hulls([one.points for one in instances], [reference_hull(one) for one in instances], answers)


def tour_figures(instances: Sequence[Instance], answers: Sequence[Sequence[int]]) -> Figures:
    return score_tours([one.points for one in instances], [as_tour(one) for one in instances], answers)


def triangle_figures(instances: Sequence[Instance], answers: Sequence[Sequence[Triangle]]) -> Figures:
    references = [reference_triangulation(one) for one in instances]
    return score_triangulations([one.points for one in instances], references, answers)


def test_a_hull_is_exact_from_any_corner_but_not_backwards():
    given = [instance("1 2 3 4 1")] * 4
    figures = hull_figures(given, [[0, 1, 2, 3], [2, 3, 0, 1], [3, 2, 1, 0], [0, 1, 2]])
    assert figures["exact"] == pytest.approx(50)
    assert figures["valid"] == pytest.approx(100)


def test_area_is_the_mean_over_valid_polygons():
    # The triangle covers half of the square; the bow tie and the refused one are invalid and left out.
    figures = hull_figures([instance("1 2 3 4 1")] * 4, [[0, 1, 2, 3], [0, 1, 2], [0, 2, 1, 3], []])
    assert figures == {"exact": 25, "valid": 50, "area": 75}


def test_no_valid_answer_leaves_area_and_length_unmeasured():
    assert hull_figures([instance()], [[]]) == {"exact": 0, "valid": 0, "area": None}
    tours = tour_figures([instance("1 5 2 3 4 1")], [[0, 1]])
    assert tours == {"valid": 0, "mean_length": None, "given_mean_length": None, "gap": None}


def test_a_reference_hull_may_be_clockwise_or_absent():
    given = [instance("4 3 2 1 4"), instance()]
    assert hull_figures(given, [[1, 2, 3, 0]] * 2)["exact"] == pytest.approx(100)


def test_tours_are_measured_over_valid_answers():
    square = instance("1 3 2 4 1", points="0 0 1 0 1 1 0 1")
    crossed = 2 + 2 * math.sqrt(2)
    figures = tour_figures([square, square], [[3, 0, 1, 2], [0, 1, 1, 2]])
    assert figures["valid"] == 50
    assert figures["mean_length"] == pytest.approx(4)
    assert figures["given_mean_length"] == pytest.approx(crossed)
    assert figures["gap"] == pytest.approx(100 * (4 / crossed - 1))


def test_triangle_coverage_counts_the_reference_triangles_found():
    points = "0 0 4 0 4 4 0 4 2 1"
    reference = instance("1 2 5 2 3 5 3 4 5 4 1 5", points)
    flipped = [(0, 1, 4), (1, 2, 4), (2, 3, 4)]
    figures = triangle_figures([reference] * 2, [[*flipped, (4, 3, 0)], flipped])
    assert figures == {"exact": 50, "valid": 50, "triangle_coverage": 100 * 7 / 8}


def test_without_output_the_reference_triangulation_is_delaunay():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0], [2.0, 1.0]])
    assert delaunay_triangles(points) == {(0, 1, 4), (1, 2, 4), (2, 3, 4), (0, 3, 4)}
    answer = sorted(delaunay_triangles(points))
    assert triangle_figures([instance()], [answer])["exact"] == 100


def test_points_on_one_line_have_no_reference_triangulation():
    with pytest.raises(BadData, match=r"here: .* on one line"):
        reference_triangulation(instance(points="0 0 1 1 2 2"))
