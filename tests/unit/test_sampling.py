"""Samples that go different ways."""

from collections import Counter
from dataclasses import replace

from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions, Sampling
from serving.decoding.search import decode
from serving.running import Admission, RunningBatch
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, source

BOS, EOS, A, B, C = 1, 2, 3, 4, 5
# a leads nowhere; b goes on to c, and c ends.
DEAD_END = first_order({BOS: {A: 0.5, B: 0.5}, B: {C: 1.0}, C: {EOS: 1.0}}, 6)


def options(count, seed=7):
    return DecodingOptions(count, 5, 6, SPECIAL, hypothesis_count=count, attention=True, sampling=Sampling(seed))


def test_a_sample_in_a_dead_end_is_an_answer_while_others_go_on():
    [found] = decode(MarkovModel([DEAD_END]), [source()], options(40))
    counts = Counter((h.tokens, h.finish_reason) for h in found)
    assert counts.keys() == {((A,), FinishReason.DEAD_END), ((B, C, EOS), FinishReason.END_OF_SEQUENCE)}
    assert counts.total() == 40
    assert min(counts.values()) > 8
    assert [h.finish_reason for h in found] == sorted(
        (h.finish_reason for h in found), key=lambda r: r.name, reverse=True
    )
    assert all(h.attention.shape == (len(h.tokens), 3) for h in found)


def test_samples_that_all_come_to_a_dead_end_are_each_answered_once():
    chain = first_order({BOS: {A: 1.0}, A: {B: 1.0}}, 6)
    [found] = decode(MarkovModel([chain]), [source()], options(5))
    assert [(h.tokens, h.finish_reason) for h in found] == [((A, B), FinishReason.DEAD_END)] * 5


def test_a_sample_in_a_dead_end_after_the_last_token_is_cut_as_all_others_are():
    chain = first_order({BOS: {A: 0.5, B: 0.5}, B: {EOS: 0.5, C: 0.5}}, 6)
    [found] = decode(MarkovModel([chain]), [source()], replace(options(40), max_length=1))
    counts = Counter((h.tokens, h.finish_reason) for h in found)
    assert counts.keys() == {
        ((A,), FinishReason.MAX_LENGTH),
        ((B,), FinishReason.MAX_LENGTH),
        ((B, EOS), FinishReason.END_OF_SEQUENCE),
    }
    assert counts.total() == 40


def test_a_sample_in_a_dead_end_is_there_when_the_others_are_stopped():
    model = MarkovModel([DEAD_END])
    batch = RunningBatch(model, SPECIAL)
    batch.admit([Admission(0, options(40), None)], model.encode([source()]))
    batch.step()
    assert batch.step() == []
    assert batch.progress(0).certain == 0, "the sample in the dead end shares nothing with the others"
    found = batch.stop(0).hypotheses
    assert Counter(h.tokens for h in found).keys() == {(A,), (B, C)}
    assert len(found) == 40
