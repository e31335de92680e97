"""Beam search against greedy search, brute force and re-scoring, on random Markov tables."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.penalties import length_penalty
from serving.decoding.search import decode
from tests.fakes.markov import FIRST, SPECIAL, MarkovModel, Table, random_table, source

VOCABULARY = 6  # three tokens that mean something, so that brute force stays small

seeds = st.integers(0, 2**32 - 1)
alphas = st.one_of(st.just(0.0), st.floats(0, 3))
tables = st.builds(
    random_table,
    seeds,
    st.just(VOCABULARY),
    sharpness=st.sampled_from([0.5, 2.0, 5.0]),
    levels=st.sampled_from([None, None, 1, 2, 3]),
)


up_to_six = st.integers(1, 6)


@st.composite
def options(draw, beam_sizes=up_to_six, max_lengths=up_to_six):
    beam_size = draw(beam_sizes)
    max_length = draw(max_lengths)
    return DecodingOptions(
        beam_size=beam_size,
        max_length=max_length,
        vocabulary_size=VOCABULARY,
        special=SPECIAL,
        hypothesis_count=draw(st.integers(1, min(beam_size, 6))),
        length_penalty=draw(alphas),
        min_length=draw(st.integers(0, max_length)),
        attention=draw(st.booleans()),
    )


def log_probs_of(table: Table, tokens: tuple[int, ...]) -> tuple[float, ...]:
    """Score a target token by token, as the model itself would."""
    path = (SPECIAL.bos, SPECIAL.bos, *tokens)
    return tuple(float(table[path[i], path[i + 1], path[i + 2]]) for i in range(len(tokens)))


def greedy(table: Table, option: DecodingOptions) -> tuple[int, ...]:
    """Take the best token at every step, the smaller id of equal ones, and end when that is eos."""
    tokens: tuple[int, ...] = ()
    while True:
        following = table[(SPECIAL.bos, SPECIAL.bos, *tokens)[-2:]].copy()
        if len(tokens) < option.min_length:
            following[SPECIAL.eos] = -np.inf
        best = int(np.argmax(following))
        if best == SPECIAL.eos:
            return (*tokens, best)
        if len(tokens) == option.max_length:
            return tokens
        tokens = (*tokens, best)


def all_scores(table: Table, option: DecodingOptions) -> list[float]:
    """Score every complete target that the options allow, best first."""
    scores = []
    for length in range(option.min_length, option.max_length + 1):
        for body in itertools.product(range(FIRST, VOCABULARY), repeat=length):
            log_prob = sum(log_probs_of(table, (*body, SPECIAL.eos)))
            scores.append(log_prob / length_penalty(length + 1, option.length_penalty))
    return sorted(scores, reverse=True)


def answer(table: Table, option: DecodingOptions) -> tuple[Hypothesis, ...]:
    return decode(MarkovModel([table]), [source()], option)[0]


@given(tables, options(beam_sizes=st.just(1)))
def test_beam_one_is_greedy(table, option):
    (found,) = answer(table, option)
    assert found.tokens == greedy(table, option)
    ended = found.tokens[-1] == SPECIAL.eos
    assert found.finish_reason is (FinishReason.END_OF_SEQUENCE if ended else FinishReason.MAX_LENGTH)


@settings(max_examples=60)
@given(tables, options(beam_sizes=st.just(200), max_lengths=st.integers(1, 4)))
def test_a_wide_beam_is_brute_force(table, option):
    found = answer(table, option)
    expected = all_scores(table, option)
    ended = [h.score for h in found if h.finish_reason is FinishReason.END_OF_SEQUENCE]
    assert ended == expected[: len(ended)]
    assert len(ended) == min(option.hypothesis_count, len(expected))


@given(tables, options())
def test_a_score_is_its_tokens_scored_again(table, option):
    for found in answer(table, option):
        assert found.token_log_probs == log_probs_of(table, found.tokens)
        assert found.log_prob == sum(found.token_log_probs)
        assert found.score == found.log_prob / length_penalty(len(found.tokens), option.length_penalty)


@given(tables, options())
def test_hypotheses_come_best_first_each_once_and_within_the_lengths(table, option):
    found = answer(table, option)
    assert 1 <= len(found) <= option.hypothesis_count
    assert len({h.tokens for h in found}) == len(found)
    ended = [h for h in found if h.finish_reason is FinishReason.END_OF_SEQUENCE]
    cut = [h for h in found if h.finish_reason is FinishReason.MAX_LENGTH]
    assert list(found) == ended + cut
    for group in (ended, cut):
        scores = [h.score for h in group]
        assert scores == sorted(scores, reverse=True)
    for h in ended:
        assert h.tokens[-1] == SPECIAL.eos
        assert option.min_length <= len(h.tokens) - 1 <= option.max_length
    for h in cut:
        assert SPECIAL.eos not in h.tokens
        assert len(h.tokens) == option.max_length


@given(tables, options())
def test_stopping_early_loses_nothing(table, option):
    """The same search that never stops before max_length, written the long way round, finds nothing better."""
    live = [((), 0.0)]
    ended: list[float] = []
    for step in range(option.max_length + 1):
        following = []
        for rank, (tokens, log_prob) in enumerate(live):
            path = (SPECIAL.bos, SPECIAL.bos, *tokens)
            for token in range(SPECIAL.eos, VOCABULARY):
                added = float(table[path[-2], path[-1], token])
                if token == SPECIAL.eos and step < option.min_length:
                    continue
                following.append((-(log_prob + added), rank, -added, token, (*tokens, token)))
        beam = sorted(following)[: option.beam_size]
        ended += [-f[0] / length_penalty(step + 1, option.length_penalty) for f in beam if f[3] == SPECIAL.eos]
        live = [(f[4], -f[0]) for f in beam if f[3] != SPECIAL.eos]
    found = [h.score for h in answer(table, option) if h.finish_reason is FinishReason.END_OF_SEQUENCE]
    assert found == sorted(ended, reverse=True)[: option.hypothesis_count]


@given(st.lists(tables, min_size=2, max_size=5), st.data())
def test_neighbours_do_not_change_an_answer(chains, data):
    wanted = [data.draw(options(beam_sizes=st.integers(1, 9))) for _ in chains]
    model = MarkovModel(chains)
    sources = [source(chain, data.draw(st.integers(1, 4))) for chain in range(len(chains))]
    together = decode(model, sources, wanted)
    for one, option, found in zip(sources, wanted, together, strict=True):
        (alone,) = decode(model, [one], option)
        assert found == alone
        for a, b in zip(found, alone, strict=True):
            if option.attention:
                assert a.attention is not None
                assert b.attention is not None
                np.testing.assert_array_equal(a.attention, b.attention)


@given(tables, options(), st.integers(1, 4))
def test_attention_follows_the_path_of_its_hypothesis(table, option, length):
    """The fake's step t looks at position t mod length alone."""
    for found in decode(MarkovModel([table]), [source(0, length)], option)[0]:
        if not option.attention:
            assert found.attention is None
            continue
        assert found.attention is not None
        assert found.attention.shape == (len(found.tokens), length)
        assert found.attention.argmax(axis=1).tolist() == [step % length for step in range(len(found.tokens))]


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(0, 5))
def test_the_length_penalty_never_falls_as_the_length_grows(length, more, alpha):
    assert length_penalty(length + more, alpha) >= length_penalty(length, alpha)
    assert math.isclose(length_penalty(1, alpha), 1.0)
