"""Continuous batching: whoever comes, whenever, and whoever leaves, an answer is the one its request would get alone."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.constraints import Constraint, HullConstraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.running import Admission, RunningBatch
from tests.fakes.markov import SPECIAL, MarkovModel, random_table, source

VOCABULARY = 9
MODEL = MarkovModel([random_table(chain, VOCABULARY, levels=3 if chain % 2 else None) for chain in range(6)])


@dataclass(frozen=True)
class Call:
    """One request: what it asks, when it comes, and after how many turns it gives up, if it does."""

    chain: int
    length: int
    options: DecodingOptions
    constraint: Constraint | None
    arrival: int
    patience: int | None


@st.composite
def calls(draw):
    beam_size = draw(st.integers(1, 12))
    max_length = draw(st.integers(1, 40))
    options = DecodingOptions(
        beam_size=beam_size,
        max_length=max_length,
        vocabulary_size=VOCABULARY,
        special=SPECIAL,
        hypothesis_count=draw(st.integers(1, beam_size)),
        length_penalty=draw(st.sampled_from([0.0, 0.6, 1.0, 2.5])),
        min_length=draw(st.integers(0, min(max_length, 20))),
        attention=draw(st.booleans()),
    )
    return Call(
        chain=draw(st.integers(0, 5)),
        length=draw(st.integers(1, 9)),
        options=options,
        constraint=draw(st.sampled_from([None, None, HullConstraint(SPECIAL)])),
        arrival=draw(st.integers(0, 30)),
        patience=draw(st.none() | st.integers(0, 20)),
    )


def serve_together(wanted: list[Call]) -> dict[int, tuple[Hypothesis, ...]]:
    """Let every call come and go at its own turn, all in one batch."""
    batch = RunningBatch(MODEL, SPECIAL)
    answers: dict[int, tuple[Hypothesis, ...]] = {}
    turn = 0
    while turn <= 30 or batch.request_count:
        for number, call in enumerate(wanted):
            if call.patience is not None and call.arrival + call.patience == turn and call.patience > 0:
                batch.remove(number)
        coming = [number for number, call in enumerate(wanted) if call.arrival == turn and call.patience != 0]
        if coming:
            joining = [Admission(number, wanted[number].options, wanted[number].constraint) for number in coming]
            batch.admit(joining, MODEL.encode([source(wanted[n].chain, wanted[n].length) for n in coming]))
        if batch.request_count:
            answers |= {finished.request: finished.hypotheses for finished in batch.step()}
        turn += 1
    return answers


@settings(max_examples=150, deadline=None)
@given(st.lists(calls(), min_size=1, max_size=8))
def test_neighbours_do_not_change_an_answer(wanted):
    together = serve_together(wanted)
    for number, call in enumerate(wanted):
        if number not in together:
            assert call.patience is not None, "only who gives up gets no answer"
            continue
        (alone,) = decode(MODEL, [source(call.chain, call.length)], call.options, [call.constraint])
        assert together[number] == alone
        for one, other in zip(together[number], alone, strict=True):
            if call.options.attention:
                np.testing.assert_array_equal(one.attention, other.attention)
