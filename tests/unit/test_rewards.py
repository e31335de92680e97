"""Rewards of single sentences: the evaluation's CIDEr-D, and BLEU worked out by hand."""

import math
import random

import pytest

from export.evaluation import caption_metrics as evaluation
from training.rewards import DocumentFrequencies, cider_d, sentence_bleu

WORDS = ["a", "the", "dog", "cat", "man", "runs", "sits", "on", "in", "grass", "water", "red"]


def sentence(generator: random.Random) -> tuple[str, ...]:
    return tuple(generator.choices(WORDS, k=generator.randint(3, 9)))


def test_the_mean_cider_d_is_the_evaluation_s_where_its_images_give_the_frequencies() -> None:
    generator = random.Random(1)
    references = [[sentence(generator) for _ in range(generator.randint(1, 5))] for _ in range(30)]
    candidates = [sentence(generator) for _ in references]
    frequencies = DocumentFrequencies.of(references)
    ours = [cider_d([one], group, frequencies)[0] for one, group in zip(candidates, references, strict=True)]
    assert sum(ours) / len(ours) == pytest.approx(evaluation.cider_d(candidates, references))


def test_sentence_bleu_smooths_all_orders_but_the_first() -> None:
    # 4 of 5 words, 2 of 4 pairs, 1 of 3 triples, 0 of 2 quadruples; as long as the first reference, so no penalty.
    value = sentence_bleu([("a", "dog", "runs", "here", "on")], [("a", "dog", "runs", "on", "grass"), ("dogs",)])[0]
    assert value == pytest.approx((4 / 5 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)


def test_sentence_bleu_penalises_what_is_shorter_than_the_nearest_reference() -> None:
    references = [("a", "b", "c", "d", "e", "f"), tuple("abcdefghijkl")]
    assert sentence_bleu([tuple("abcdef")], references)[0] == pytest.approx(1)
    assert sentence_bleu([tuple("abcd")], references)[0] == pytest.approx(math.exp(1 - 6 / 4))
    assert sentence_bleu([("z",), ()], references) == [0, 0]
