"""Continuous batching: whoever comes, whenever, and whoever leaves, an answer is the one its request would get alone.

Some chains break: what is no number fails the request that it was given to, and no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.request import Finished
from serving.decoding.search import decode
from serving.running import Admission, RunningBatch
from tests.fakes.glancing import GlancingModel
from tests.fakes.markov import SPECIAL, random_table, source
from tests.fakes.wishes import KINDS, PIECES, Wish, random_wish

VOCABULARY = len(PIECES)
SOUND = 6
TABLES = [random_table(chain, VOCABULARY, levels=3 if chain % 2 else None) for chain in range(SOUND)]
BROKEN = [TABLES[0].copy(), TABLES[1].copy()]
BROKEN[0][4, 6] = np.nan  # of every token, as a softmax over one that is no number gives
BROKEN[1][:, 5, 3] = np.inf
MODEL = GlancingModel(TABLES + BROKEN)
CHAINS = SOUND + len(BROKEN)
LAST_ARRIVAL = 30


@dataclass(frozen=True)
class Call:
    """One request: what it asks and when it comes; after how many turns it gives up, if it does, or wants its best so far."""

    chain: int
    length: int
    wish: Wish
    arrival: int
    gives_up: int | None
    stops: int | None

    @property
    def source(self):
        return source(self.chain, self.length)


def wishes(seed: int, kinds: Sequence[str], share: float) -> Wish:
    random = Random(seed)
    beams, lengths = random.choice([((1, 4), (1, 8)), ((1, 12), (1, 40))])
    return random_wish(random, VOCABULARY, beam_sizes=beams, lengths=lengths, kinds=kinds, share=share)


def calls(kinds=KINDS, share=0.3, chains=CHAINS):
    return st.builds(
        Call,
        chain=st.integers(0, chains - 1),
        length=st.integers(1, 9),
        wish=st.builds(wishes, st.integers(0, 2**32 - 1), st.just(kinds), st.just(share)),
        arrival=st.integers(0, LAST_ARRIVAL),
        gives_up=st.none() | st.integers(0, 20),
        stops=st.none() | st.integers(0, 20),
    )


def serve_together(wanted: list[Call]) -> dict[int, Finished]:
    """Let every call come and go at its own turn, all in one batch."""
    batch = RunningBatch(MODEL, SPECIAL)
    answers: dict[int, Finished] = {}
    there: set[int] = set()
    turn = 0
    while turn <= LAST_ARRIVAL or batch.request_count:
        coming = [number for number, call in enumerate(wanted) if call.arrival == turn]
        if coming:
            joining = [Admission(n, wanted[n].wish.options, wanted[n].wish.constraint) for n in coming]
            batch.admit(joining, MODEL.encode([wanted[n].source for n in coming]))
            there |= set(coming)
        for number in sorted(there):
            call = wanted[number]
            if call.stops is not None and call.arrival + call.stops == turn:
                answers[number] = batch.stop(number)
                there.remove(number)
            elif call.gives_up is not None and call.arrival + call.gives_up == turn:
                batch.remove(number)
                there.remove(number)
        if batch.request_count:
            finished = batch.step()
            answers |= {over.request: over for over in finished}
            there -= {over.request for over in finished}
        turn += 1
    assert not there
    assert batch.row_count == 0
    return answers


def serve_alone(call: Call) -> Finished:
    """Serve one call by itself; whether it would give up does not matter."""
    batch = RunningBatch(MODEL, SPECIAL)
    batch.admit([Admission(0, call.wish.options, call.wish.constraint)], MODEL.encode([call.source]))
    turn = 0
    while turn != call.stops:
        for finished in batch.step():
            return finished
        turn += 1
    return batch.stop(0)


def assert_answers_are_those_of_each_alone(wanted: list[Call]) -> None:
    together = serve_together(wanted)
    for number, call in enumerate(wanted):
        if number not in together:
            assert call.gives_up is not None, "only who gives up gets no answer"
            continue
        found, alone = together[number], serve_alone(call)
        assert (found.hypotheses, found.step_count) == (alone.hypotheses, alone.step_count)
        for one, other in zip(found.hypotheses, alone.hypotheses, strict=True):
            if call.wish.options.attention:
                np.testing.assert_array_equal(one.attention, other.attention)
            else:
                assert one.attention is None


@settings(max_examples=250, deadline=None)
@given(st.lists(calls(), min_size=1, max_size=8))
def test_neighbours_do_not_change_an_answer(wanted):
    assert_answers_are_those_of_each_alone(wanted)


@settings(max_examples=60, deadline=None)
@given(st.lists(calls(("required", "prefix", "repetition_penalty"), 0.6), min_size=1, max_size=3), calls((), 0))
def test_a_wide_plain_neighbour_does_not_change_an_answer_that_must_hold_phrases(wanted, neighbour):
    """It has the step return candidates that the others did not ask for."""
    assert_answers_are_those_of_each_alone([*wanted, neighbour])


@settings(max_examples=60, deadline=None)
@given(calls(chains=SOUND))
def test_serving_alone_is_decoding(call):
    found = serve_alone(Call(call.chain, call.length, call.wish, 0, None, None)).hypotheses
    (expected,) = decode(MODEL, [call.source], call.wish.options, [call.wish.constraint])
    assert found == expected
