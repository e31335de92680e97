"""Samples that go different ways."""

from collections import Counter
from dataclasses import replace

import numpy as np

from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions, Sampling
from serving.decoding.sampling import draw
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


def test_the_nucleus_is_the_fewest_tokens_that_have_the_share():
    """Of four equally likely tokens two have exactly half."""
    even = np.zeros((3, 4), np.float32)
    nearly_one = np.array([0.0, 0.49, 0.999])
    assert draw(even, nearly_one, Sampling(0, top_p=0.5)).tolist() == [0, 0, 1]
    assert draw(even, nearly_one, Sampling(0, top_p=0.51)).tolist() == [0, 1, 2]
    assert draw(even, nearly_one, Sampling(0, top_p=0.25)).tolist() == [0, 0, 0]
    assert draw(even, nearly_one, Sampling(0)).tolist() == [0, 1, 3]


def test_top_k_comes_before_the_nucleus_and_temperature_before_both():
    log_prob = np.log(np.array([[0.4, 0.3, 0.2, 0.1]], np.float32))
    last = np.array([0.999])
    assert draw(log_prob, last, Sampling(0, top_k=2, top_p=0.6)).tolist() == [1], "0.4 is 0.57 of what is left"
    assert draw(log_prob, last, Sampling(0, top_k=2, top_p=0.57)).tolist() == [0]
    assert draw(log_prob, last, Sampling(0, top_p=0.5, temperature=0.1)).tolist() == [0], (
        "0.4 is nearly all when sharpened"
    )
    assert draw(log_prob, last, Sampling(0, top_p=0.7, temperature=100.0)).tolist() == [2], (
        "and a quarter when flattened"
    )


def test_a_zero_at_the_end_of_the_candidates_is_never_drawn():
    log_prob = np.array([[0.0, -np.inf, -np.inf]], np.float32)
    assert draw(log_prob, np.array([0.9999999999999999]), Sampling(0)).tolist() == [0]
