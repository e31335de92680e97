"""Rewards of single answers: the evaluation's CIDEr-D, and each one's part in the evaluation's BLEU."""

import math
import random

import pytest

from export.evaluation import caption_metrics as evaluation
from training.rewards import BleuCounts, DocumentFrequencies, bleu_gains, cider_d, count_for_bleu

WORDS = ["a", "the", "dog", "cat", "man", "runs", "sits", "on", "in", "grass", "water", "red"]


Sentence = tuple[str, ...]


def sentence(generator: random.Random) -> Sentence:
    return tuple(generator.choices(WORDS, k=generator.randint(3, 9)))


def test_the_mean_cider_d_is_the_evaluation_s_where_its_images_give_the_frequencies() -> None:
    generator = random.Random(1)
    references = [[sentence(generator) for _ in range(generator.randint(1, 5))] for _ in range(30)]
    candidates = [sentence(generator) for _ in references]
    frequencies = DocumentFrequencies.of(references)
    ours = [cider_d([one], group, frequencies)[0] for one, group in zip(candidates, references, strict=True)]
    assert sum(ours) / len(ours) == pytest.approx(evaluation.cider_d(candidates, references))


def corpus(size: int, longest: int) -> tuple[list[Sentence], list[list[Sentence]]]:
    """Candidates that are a reference with one other word in it, cut off; and the references."""
    generator = random.Random(2)
    references = [[sentence(generator) for _ in range(generator.randint(1, 4))] for _ in range(size)]
    candidates = []
    for first, *_ in references:
        words = list(first)
        words[generator.randrange(len(words))] = generator.choice(WORDS)
        candidates.append(tuple(words[:longest]))
    return candidates, references


def counts_of(candidates: list[Sentence], references: list[list[Sentence]]) -> list[BleuCounts]:
    return [count_for_bleu([one], group)[0] for one, group in zip(candidates, references, strict=True)]


@pytest.mark.parametrize("longest", [4, 99], ids=["too short", "long enough"])
def test_bleu_is_the_evaluation_s_but_for_its_smoothing(longest: int) -> None:
    candidates, references = corpus(2000, longest)
    total = BleuCounts.total(counts_of(candidates, references))
    assert total.too_short == (longest == 4)
    assert 100 * math.exp(total.log_bleu()) == pytest.approx(
        evaluation.corpus_bleu(candidates, references, 4), rel=0.01
    )


@pytest.mark.parametrize("longest", [4, 99], ids=["too short", "long enough"])
def test_a_gain_is_what_one_more_of_a_candidate_adds_to_log_bleu(longest: int) -> None:
    counts = counts_of(*corpus(2000, longest))
    before = BleuCounts.total(counts).log_bleu()
    for candidate, gain in list(zip(counts, bleu_gains(counts), strict=True))[:50]:
        added = BleuCounts.total([*counts, candidate]).log_bleu() - before
        assert gain == pytest.approx(len(counts) * added, abs=0.02)


def test_a_candidate_is_counted_as_papineni_does() -> None:
    (counts,) = count_for_bleu([("a", "dog", "a", "a")], [("a", "dog", "runs"), ("a", "a", "dog", "runs", "on")])
    assert counts == BleuCounts((3, 2, 0, 0), (4, 3, 2, 1), 3)
    assert count_for_bleu([()], [("a",)]) == [BleuCounts((0, 0, 0, 0), (0, 0, 0, 0), 1)]
