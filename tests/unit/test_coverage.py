"""The coverage penalty on paper: the fake's step t looks at position t mod length of its source alone."""

from math import log

import pytest

from serving.decoding.coverage import LEAST_ATTENTION
from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.running import Admission, RunningBatch
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, source

BOS, EOS, A = 1, 2, 3
MODEL = MarkovModel([first_order({BOS: {A: 1.0}, A: {A: 1.0}}, 4), first_order({BOS: {A: 1.0}, A: {EOS: 1.0}}, 4)])


def options(max_length=3, **changes):
    return DecodingOptions(1, max_length, 4, SPECIAL, coverage_penalty=2.0, **changes)


def missed(positions):
    """Return what so many positions that nobody looked at cost."""
    return pytest.approx(2.0 * positions * log(LEAST_ATTENTION))


def test_every_position_that_got_less_than_one_costs_its_log():
    """a . takes two steps, which look at the first two positions."""
    for length, positions in ((1, 0), (2, 0), (3, 1), (5, 3)):
        [(found,)] = decode(MODEL, [source(1, length)], options())
        assert found.finish_reason is FinishReason.END_OF_SEQUENCE
        assert found.score == missed(positions)


def test_a_hypothesis_cut_at_its_maximum_length_is_scored_by_what_its_own_tokens_looked_at():
    """The step in which it could have ended belongs to a token that it does not have."""
    for length, positions in ((2, 0), (3, 0), (4, 1), (5, 2)):
        [(found,)] = decode(MODEL, [source(0, length)], options(attention=True))
        assert found.finish_reason is FinishReason.MAX_LENGTH
        assert found.attention.sum(axis=0).tolist().count(0) == positions
        assert found.score == missed(positions)


def test_a_hypothesis_stopped_with_as_many_tokens_has_the_same_score():
    batch = RunningBatch(MODEL, SPECIAL)
    batch.admit([Admission(0, options(max_length=10), None)], MODEL.encode([source(0, 5)]))
    for _ in range(3):
        batch.step()
    (found,) = batch.stop(0).hypotheses
    assert (found.finish_reason, len(found.tokens)) == (FinishReason.DEADLINE, 3)
    assert found.score == missed(2)


def test_a_dead_end_without_any_token_has_looked_at_nothing():
    model = MarkovModel([first_order({}, 4)])
    [(found,)] = decode(model, [source(0, 4)], options())
    assert (found.tokens, found.finish_reason) == ((), FinishReason.DEAD_END)
    assert found.score == missed(4)
