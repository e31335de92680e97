"""On a real session, too, neighbours do not change an answer, whoever joins and leaves in between."""

import numpy as np
import pytest

from serving.decoding.constraints import Constraint, HullConstraint, TriangulationConstraint
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.search import decode
from serving.running import Admission, RunningBatch

SCORE_TOLERANCE = 1e-4
"""Longer neighbours pad the memory, and sums over padding are made in another order: a few units of 2^-24 a token."""


def how_to_search(exported, number: int) -> tuple[DecodingOptions, Constraint | None]:
    """Give every source options of its own."""
    vocabulary = exported.bundle.manifest.vocabulary
    special = SpecialTokens(vocabulary.pad, vocabulary.bos, vocabulary.eos)
    size, constraint = vocabulary.size, None
    if vocabulary.first_position is not None:
        points = len(exported.sources[number]["points"])
        size = vocabulary.first_position + points
        hull = exported.bundle.manifest.task == "convex_hull"
        constraint = HullConstraint(special) if hull else TriangulationConstraint(points, size - points, special)
    options = DecodingOptions(
        beam_size=1 + number % 5,
        max_length=6 + 3 * (number % 3),
        vocabulary_size=size,
        special=special,
        hypothesis_count=1 + number % 2 if number % 5 else 1,
        length_penalty=0.3 * (number % 4),
        attention=number % 3 == 0,
    )
    return options, constraint


@pytest.mark.parametrize("seed", [0, 1])
def test_neighbours_do_not_change_an_answer(exported, seed):
    generator = np.random.default_rng(seed)
    wanted = [how_to_search(exported, number) for number in range(len(exported.sources))]
    arrival = generator.integers(0, 8, len(wanted)).tolist()
    gives_up = {int(number) for number in generator.integers(0, len(wanted), 3)}
    batch = RunningBatch(exported.model, wanted[0][0].special)
    together = {}
    for turn in range(40):
        coming = [number for number in range(len(wanted)) if arrival[number] == turn]
        if coming:
            encoded = exported.model.encode([exported.sources[number] for number in coming])
            batch.admit([Admission(number, *wanted[number]) for number in coming], encoded)
        for number in gives_up:
            if arrival[number] + 2 == turn:
                batch.remove(number)
        if batch.request_count:
            together |= {finished.request: finished.hypotheses for finished in batch.step()}
    assert batch.request_count == 0
    assert together.keys() >= set(range(len(wanted))) - gives_up
    for number, found in together.items():
        options, constraint = wanted[number]
        (alone,) = decode(exported.model, [exported.sources[number]], options, [constraint])
        assert [h.tokens for h in found] == [h.tokens for h in alone]
        assert [h.finish_reason for h in found] == [h.finish_reason for h in alone]
        for one, other in zip(found, alone, strict=True):
            assert one.score == pytest.approx(other.score, abs=SCORE_TOLERANCE)
            if options.attention:
                np.testing.assert_allclose(one.attention, other.attention, atol=SCORE_TOLERANCE)
