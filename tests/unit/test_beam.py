"""Beams worked out on paper, on chains where only the last token matters.

The tokens are a = 3, b = 4, c = 5; <s> is bos and . is eos. A log-prob of p is written ln p.
"""

from math import log

import numpy as np
import pytest

from serving.decoding.beam import SearchBatch
from serving.decoding.constraints import HullConstraint
from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions
from serving.decoding.penalties import length_penalty
from serving.decoding.search import decode
from serving.decoding.step import StepOutputs
from serving.errors import ModelFault
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, source

BOS, EOS, A, B, C = 1, 2, 3, 4, 5
VOCABULARY = 6


def options(**changes):
    defaults = {"beam_size": 1, "max_length": 5, "vocabulary_size": VOCABULARY, "special": SPECIAL}
    return DecodingOptions(**(defaults | changes))


def search(chain, **changes):
    model = MarkovModel([first_order(chain, VOCABULARY)])
    return decode(model, [source()], options(**changes))[0]


# Greedy takes a (0.6) and gets 0.6 * 0.5 * 1 = 0.30 with a c .; the best whole target is b . with 0.4 * 0.9 = 0.36.
GARDEN_PATH = {BOS: {A: 0.6, B: 0.4}, A: {B: 0.3, C: 0.5, A: 0.2}, B: {EOS: 0.9, C: 0.1}, C: {EOS: 1.0}}


def test_greedy_follows_the_garden_path():
    (found,) = search(GARDEN_PATH)
    assert found.tokens == (A, C, EOS)
    assert found.log_prob == pytest.approx(log(0.30))


def test_a_beam_of_two_finds_the_better_target():
    """Step 1 keeps a 0.6, b 0.4; step 2 keeps b . 0.36, which ends, and a c 0.30; nothing live can beat 0.36."""
    model = MarkovModel([first_order(GARDEN_PATH, VOCABULARY)])
    (found,) = decode(model, [source()], options(beam_size=2))[0]
    assert found.tokens == (B, EOS)
    assert found.token_log_probs == pytest.approx([log(0.4), log(0.9)])
    assert [len(step.token) for step in model.steps] == [1, 2]


def test_the_n_best_come_in_order():
    """All whole targets: b . 0.36, a c . 0.30, a b . 0.162, b c . 0.04 and so on."""
    found = search(GARDEN_PATH, beam_size=4, hypothesis_count=3)
    assert [h.tokens for h in found] == [(B, EOS), (A, C, EOS), (A, B, EOS)]
    assert [h.log_prob for h in found] == pytest.approx([log(0.36), log(0.30), log(0.162)])


# a . has 0.5 * 0.8 = 0.40; b c . has 0.5 * 0.7 * 1 = 0.35, one token longer.
SHORT_AND_LONG = {BOS: {A: 0.5, B: 0.5}, A: {EOS: 0.8, A: 0.2}, B: {C: 0.7, B: 0.3}, C: {EOS: 1.0}}


def test_the_length_penalty_flips_the_winner():
    """With alpha 1: ln 0.40 / (7/6) = -0.785 against ln 0.35 / (8/6) = -0.787; with alpha 2, -0.673 against -0.591."""
    for alpha, winner in ((0.0, (A, EOS)), (1.0, (A, EOS)), (2.0, (B, C, EOS))):
        (found,) = search(SHORT_AND_LONG, beam_size=3, length_penalty=alpha)
        assert found.tokens == winner
        assert found.score == found.log_prob / length_penalty(len(winner), alpha)
    assert log(0.40) / (7 / 6) == pytest.approx(-0.785, abs=1e-3)
    assert log(0.35) / (8 / 6) ** 2 == pytest.approx(-0.591, abs=1e-3)


def test_an_early_stop_does_not_lose_the_better_later_hypothesis():
    """A search that stops at its first n endings would answer a . here; the bound makes it go on.

    After step 2, a . is finished: ln 0.45 / (7/6)^2 = -0.587. The live b c has ln 0.42, and could still end with six tokens:
    ln 0.42 / (11/6)^2 = -0.258. It ends as b c c . with ln 0.42 / (9/6)^2 = -0.386, the better score.
    """
    chain = {BOS: {A: 0.5, B: 0.5}, A: {EOS: 0.9, A: 0.1}, B: {C: 0.84, B: 0.16}, C: {C: 0.5, EOS: 0.5}}
    table = first_order(chain, VOCABULARY).copy()
    table[B, C] = table[C, C] = -np.inf
    table[B, C, C] = table[C, C, EOS] = 0.0  # after b comes c twice, then the end
    model = MarkovModel([table])
    (found,) = decode(model, [source()], options(beam_size=2, length_penalty=2.0))[0]
    assert found.tokens == (B, C, C, EOS)
    assert found.score == pytest.approx(-0.386, abs=1e-3)


def test_the_search_stops_as_soon_as_nothing_better_can_come():
    """After step 1 the empty target has ln 0.6; what is live has ln 0.4 and can only lose, so that one step is enough."""
    chain = {BOS: {EOS: 0.6, A: 0.4}, A: {A: 0.5, EOS: 0.5}}
    model = MarkovModel([first_order(chain, VOCABULARY)])
    (found,) = decode(model, [source()], options(beam_size=2))[0]
    assert found.tokens == (EOS,)
    assert len(model.steps) == 1
    # With a penalty of (10/6)^3 at most, ln 0.4 / 4.6 = -0.20 is still above ln 0.6 / 1 = -0.51: it must go on.
    model.steps.clear()
    decode(model, [source()], options(beam_size=2, max_length=4, length_penalty=3.0))
    assert len(model.steps) > 1


def test_the_bound_counts_the_end_after_the_last_token():
    """max_length 1 still allows a . of two tokens: ln 0.45 / (7/6)^3 = -0.503 beats the empty target's ln 0.5 = -0.693."""
    chain = {BOS: {EOS: 0.5, A: 0.45}, A: {EOS: 1.0}}
    (found,) = search(chain, beam_size=2, max_length=1, length_penalty=3.0)
    assert found.tokens == (A, EOS)


def test_an_ending_takes_one_place_of_its_step_and_of_no_other():
    """Step 2 of a beam of two: a . 0.45 ends, a b 0.15 lives; step 3 has its row alone, and fills the beam with a b a, a b b."""
    chain = {BOS: {A: 0.6, B: 0.1, C: 0.3}, A: {EOS: 0.75, B: 0.25}, C: {C: 0.4, A: 0.3, B: 0.3}, B: {A: 0.5, B: 0.5}}
    model = MarkovModel([first_order(chain, VOCABULARY)])
    decode(model, [source()], options(beam_size=2, hypothesis_count=2, max_length=3))
    assert [len(step.token) for step in model.steps[:4]] == [1, 2, 1, 2]


def test_eos_waits_for_the_minimum_length():
    chain = {BOS: {EOS: 0.9, A: 0.1}, A: {EOS: 0.9, A: 0.1}}
    for minimum in range(4):
        (found,) = search(chain, min_length=minimum)
        assert found.tokens == (A,) * minimum + (EOS,)


def test_a_hypothesis_may_end_after_its_last_token_and_is_cut_otherwise():
    """max_length 2: a b . is within it and wins where eos is the best third token; where it is not, a b is cut."""
    (cut,) = search({BOS: {A: 1.0}, A: {B: 0.7, EOS: 0.3}, B: {B: 0.6, EOS: 0.4}}, max_length=2)
    assert cut.tokens == (A, B)
    assert cut.finish_reason is FinishReason.MAX_LENGTH
    assert cut.log_prob == pytest.approx(log(0.7))
    (ended,) = search({BOS: {A: 1.0}, A: {B: 0.7, EOS: 0.3}, B: {B: 0.4, EOS: 0.6}}, max_length=2)
    assert ended.tokens == (A, B, EOS)
    assert ended.finish_reason is FinishReason.END_OF_SEQUENCE


def test_cut_hypotheses_only_fill_up_behind_those_that_ended():
    """a . ends with 0.1; b b, cut at 2 tokens with 0.9, is the likelier of the two and still comes second."""
    chain = {BOS: {A: 0.1, B: 0.9}, A: {EOS: 1.0}, B: {B: 1.0}}
    found = search(chain, beam_size=2, hypothesis_count=2, max_length=2)
    assert [h.tokens for h in found] == [(A, EOS), (B, B)]
    assert [h.finish_reason for h in found] == [FinishReason.END_OF_SEQUENCE, FinishReason.MAX_LENGTH]
    (first,) = search(chain, beam_size=2, hypothesis_count=1, max_length=2)
    assert first.tokens == (A, EOS)


def test_what_ended_is_not_given_a_second_time_as_cut():
    """At the last step a goes on to . and to b; a . is the whole answer, since a alone would be the same text again."""
    found = search({BOS: {A: 1.0}, A: {EOS: 0.6, B: 0.4}}, beam_size=3, hypothesis_count=2, max_length=1)
    assert [h.tokens for h in found] == [(A, EOS)]


def test_a_dead_end_gives_the_partial_hypothesis():
    (found,) = search({BOS: {A: 1.0}, A: {B: 1.0}})
    assert found.tokens == (A, B)
    assert found.finish_reason is FinishReason.DEAD_END


def test_a_dead_end_at_the_first_step_gives_an_empty_hypothesis():
    (found,) = search({}, beam_size=3, hypothesis_count=2)
    assert found.tokens == ()
    assert found.log_prob == 0.0
    assert found.finish_reason is FinishReason.DEAD_END


def test_a_hypothesis_in_a_dead_end_gives_way_to_those_that_can_go_on():
    """a 0.7 leads nowhere; b 0.3 ends."""
    found = search({BOS: {A: 0.7, B: 0.3}, B: {EOS: 1.0}}, beam_size=2)
    assert [h.tokens for h in found] == [(B, EOS)]


def test_ties_go_to_the_smaller_token_then_to_the_better_parent():
    """All four targets of two tokens have 1/4; the beam of two keeps a before b, then a a before a b."""
    chain = {BOS: {A: 0.5, B: 0.5}, A: {A: 0.25, B: 0.25, EOS: 0.5}, B: {A: 0.25, B: 0.25, EOS: 0.5}}
    model = MarkovModel([first_order(chain, VOCABULARY)])
    found = decode(model, [source()], options(beam_size=6, hypothesis_count=4))[0]
    assert [h.tokens for h in found] == [(A, EOS), (B, EOS), (A, A, EOS), (A, B, EOS)]


def test_a_vocabulary_smaller_than_the_beam_is_no_trouble():
    model = MarkovModel([first_order({BOS: {A: 1.0}, A: {EOS: 1.0}}, 4)])
    (found,) = decode(model, [source()], options(beam_size=50, vocabulary_size=4))[0]
    assert found.tokens == (A, EOS)
    assert model.steps[0].candidates == 4


def test_requests_of_every_beam_size_share_a_batch():
    model = MarkovModel([first_order(GARDEN_PATH, VOCABULARY)])
    wanted = [options(beam_size=size) for size in (1, 2, 5)]
    found = decode(model, [source()] * 3, wanted)
    assert [answer[0].tokens for answer in found] == [(A, C, EOS), (B, EOS), (B, EOS)]
    assert [len(step.token) for step in model.steps[:2]] == [3, 1 + 2 + 2]


def test_log_probs_that_are_not_numbers_end_their_own_request_alone():
    batch = SearchBatch(SPECIAL)
    for request in range(2):
        batch.add(request, request, options(beam_size=2, max_length=1))
    batch.inputs()
    candidate = np.array([[A, B], [A, B]])
    log_prob = np.array([[-0.5, np.nan], [-0.5, -1.0]], np.float32)
    (failed,) = batch.select(StepOutputs(log_prob, candidate, log_prob[:, 0], None))
    assert (failed.request, failed.hypotheses, failed.step_count) == (0, (), 1)
    np.testing.assert_array_equal(batch.inputs().parent, [1, 1])


def test_decoding_a_model_that_gives_no_numbers_is_a_fault():
    tables = [first_order(GARDEN_PATH, VOCABULARY), np.full((VOCABULARY,) * 3, np.nan, np.float32)]
    with pytest.raises(ModelFault, match="source 1, step 1"):
        decode(MarkovModel(tables), [source(0), source(1)], options())


def test_nothing_to_decode_is_no_trouble():
    assert decode(MarkovModel([first_order({}, VOCABULARY)]), [], options()) == []


def test_a_removed_request_leaves_before_and_after_its_first_step():
    model = MarkovModel([first_order(GARDEN_PATH, VOCABULARY)])
    batch = SearchBatch(SPECIAL)
    for request in range(3):
        batch.add(request, request, options(beam_size=2))
    batch.remove(1)
    encoded = model.encode([source()] * 3)
    inputs = batch.inputs()
    np.testing.assert_array_equal(inputs.parent, [0, 2])
    outputs, _ = model.step(inputs, encoded.memory, encoded.state)
    assert batch.select(outputs) == []
    batch.remove(0)
    np.testing.assert_array_equal(batch.inputs().source, [2, 2])
    np.testing.assert_array_equal(batch.inputs().parent, [1, 1])
    assert (batch.request_count, batch.row_count) == (1, 2)


def test_bans_of_requests_with_and_without_constraints_stand_side_by_side():
    batch = SearchBatch(SPECIAL)
    batch.add(0, 0, options(min_length=1))
    batch.add(1, 1, options(), HullConstraint(SPECIAL))
    batch.add(2, 2, options())
    assert [set(row) - {SPECIAL.pad} for row in batch.inputs().banned.tolist()] == [{EOS}, {EOS}, set()]


def test_the_length_penalty_is_that_of_the_paper():
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(7, 1.0) == 2.0
    assert length_penalty(20, 0.0) == 1.0
    assert length_penalty(19, 0.5) == 2.0


def test_a_stopped_search_ranks_what_ended_beside_what_did_not():
    """After one step: a, 0.9, lives and . , 0.1, has ended; the deadline's best is a."""
    model = MarkovModel([first_order({BOS: {A: 0.9, EOS: 0.1}, A: {A: 1.0}}, VOCABULARY)])
    encoded = model.encode([source()])
    batch = SearchBatch(SPECIAL)
    batch.add(0, 0, options(beam_size=2, hypothesis_count=2))
    outputs, _ = model.step(batch.inputs(), encoded.memory, encoded.state)
    assert batch.select(outputs) == []
    best, other = batch.stop(0).hypotheses
    assert (best.tokens, best.finish_reason) == ((A,), FinishReason.DEADLINE)
    assert (other.tokens, other.finish_reason) == ((EOS,), FinishReason.END_OF_SEQUENCE)
    assert batch.request_count == 0
