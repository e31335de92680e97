"""Whole answers token by token: how many are the reference's, and by how much the others are not."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from export.certification.references import GreedyAnswer, References
from export.certification.searching import BATCH_SIZE, best_answers, scores_of
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.step import Model
from serving.manifest import Manifest, TokenAgreement

CUT: Final = 1e6
"""The margin of an answer that goes on where the other was cut: no rounding does that, and JSON has no infinity."""


def compare_greedy(manifest: Manifest, candidate: Model, references: References) -> TokenAgreement:
    """Decode every source greedily, alone and in a mixed batch."""
    expected = [answer.tokens for answer in references.greedy]
    alone, together = _both_ways(manifest, candidate, references, beam_size=1)
    margins = [
        max(greedy_margin(answer, tokens) for tokens in given if tokens != answer.tokens)
        for answer, *given in zip(references.greedy, _tokens(alone), _tokens(together), strict=True)
        if any(tokens != answer.tokens for tokens in given)
    ]
    return _agreement(1, expected, (_tokens(alone), _tokens(together)), margins)


def compare_beam(
    manifest: Manifest, candidate: Model, references: References
) -> tuple[TokenAgreement, list[Hypothesis]]:
    """Decode every source with the references' beam, alone and in a mixed batch; also return the answers of the batch.

    A margin is by how much the candidate's own score prefers its answer. Where it is negative, the search lost the reference's
    answer on the way, by a near-tie that fell otherwise.
    """
    alone, together = _both_ways(manifest, candidate, references, references.beam_size)
    differing = [
        (source, answer, given)
        for source, answer, *both in zip(references.sources, references.beam, alone, together, strict=True)
        for given in both[: 1 + (both[1].tokens != both[0].tokens)]
        if given.tokens != answer
    ]
    scores = (
        scores_of(manifest, candidate, *zip(*((source, answer) for source, answer, _ in differing), strict=True))
        if differing
        else []
    )
    margins = [given.score - score for (_, _, given), score in zip(differing, scores, strict=True)]
    return _agreement(references.beam_size, references.beam, (_tokens(alone), _tokens(together)), margins), together


def greedy_margin(answer: GreedyAnswer, given: Sequence[int]) -> float:
    """Return how much likelier the reference's token was than the one given, where the two answers part.

    For a token that is not among the recorded ones next to it, that of the last of them: it was no less.
    """
    place = next(
        (place for place, pair in enumerate(zip(answer.tokens, given, strict=False)) if pair[0] != pair[1]), None
    )
    if place is None:
        return CUT
    gaps = answer.gaps[place][answer.others[place] == given[place]]
    return min(float(gaps[0] if len(gaps) else answer.gaps[place][-1]), CUT)


def _both_ways(
    manifest: Manifest, candidate: Model, references: References, beam_size: int
) -> tuple[list[Hypothesis], list[Hypothesis]]:
    alone = best_answers(manifest, candidate, references.sources, beam_size, batch_size=1)
    return alone, best_answers(manifest, candidate, references.sources, beam_size, BATCH_SIZE)


def _tokens(answers: Sequence[Hypothesis]) -> list[tuple[int, ...]]:
    return [answer.tokens for answer in answers]


def _agreement(
    beam_size: int,
    expected: Sequence[tuple[int, ...]],
    given: tuple[Sequence[tuple[int, ...]], Sequence[tuple[int, ...]]],
    margins: Sequence[float],
) -> TokenAgreement:
    alone, together = (
        sum(one == other for one, other in zip(expected, answers, strict=True)) / len(expected) for answers in given
    )
    return TokenAgreement(
        beam_size=beam_size,
        inputs=len(expected),
        identical_alone=alone,
        identical_in_batch=together,
        largest_margin=max(margins, default=None),
        median_margin=median(margins) if margins else None,
    )
