"""Sampling against enumeration: the right distribution, and the same draws for the same seed whoever else is there."""

import math
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions, Sampling
from serving.decoding.sampling import uniforms
from serving.decoding.search import decode
from tests.fakes.glancing import GlancingModel
from tests.fakes.markov import FIRST, SPECIAL, MarkovModel, random_table, source
from tests.fakes.wishes import PIECES, Tokens, Wish, random_wish

VOCABULARY = len(PIECES)
MODEL = GlancingModel([random_table(chain, VOCABULARY, levels=3 if chain % 2 else None) for chain in range(6)])
KINDS = ("repetition_penalty", "min_length", "prefix", "suppressed_tokens", "suppressed_phrases", "ngram", "hull")

seeds = st.integers(0, 2**32 - 1)


def sampling_wish(seed: int) -> Wish:
    """Draw a request for samples."""
    random = Random(seed)
    wish = random_wish(random, VOCABULARY, lengths=(1, 6), kinds=KINDS)
    sampling = Sampling(
        seed=random.randint(0, 2**63 - 1),
        temperature=random.choice([0.2, 1.0, 4.0]),
        top_k=random.choice([1, 2, 4, 50]),
        top_p=random.choice([0.2, 0.7, 1.0]),
    )
    count = wish.options.beam_size
    return replace(wish, options=replace(wish.options, hypothesis_count=count, sampling=sampling))


def choices(chain: int, wish: Wish, tokens: Tokens) -> list[tuple[int, float, float]]:
    """Return what may be drawn after `tokens`, best first: token, log-prob, and its share of the probability."""
    options, sampling = wish.options, wish.options.sampling
    assert sampling is not None
    before, last = (SPECIAL.bos, SPECIAL.bos, *tokens)[-2:]
    row = MODEL.tables[chain, before, last].tolist()
    if len(tokens) < len(options.prefix):
        forced = options.prefix[len(tokens)]
        return [(forced, row[forced], 1.0)]
    possible = [token for token in range(SPECIAL.eos, VOCABULARY) if wish.allows(tokens, token)]
    possible.sort(key=lambda token: -row[token])
    weight = {token: np.float32(options.repetition_penalty if token in tokens else 1) for token in possible}
    adjusted = {token: float(np.float32(row[token]) * weight[token]) for token in possible}
    best = sorted(possible, key=lambda token: -adjusted[token])[: sampling.top_k]
    mass = [math.exp((adjusted[token] - adjusted[best[0]]) / sampling.temperature) for token in best]
    count = next((n for n in range(1, len(best)) if sum(mass[:n]) >= sampling.top_p * sum(mass)), len(best))
    return [(token, row[token], mass[place] / sum(mass[:count])) for place, token in enumerate(best[:count])]


def drawn(chain: int, wish: Wish, number: int) -> tuple[Tokens, FinishReason, bool]:
    """Draw sample `number` of a request; the last says whether a draw was too near to two tokens for rounding to be ruled out."""
    assert wish.options.sampling is not None
    tokens: Tokens = ()
    near = False
    for step in range(wish.options.max_length + 1):
        following = choices(chain, wish, tokens)
        if not following:
            return tokens, FinishReason.DEAD_END, near
        place = uniforms(wish.options.sampling.seed, step, number + 1)[number]
        ends = np.cumsum([share for _, _, share in following])
        near |= bool((abs(ends[:-1] - place) < 1e-9).any())
        token = following[min(int((ends <= place).sum()), len(following) - 1)][0]
        if token == SPECIAL.eos:
            return (*tokens, token), FinishReason.END_OF_SEQUENCE, near
        if step < wish.options.max_length:
            tokens = (*tokens, token)
    return tokens, FinishReason.MAX_LENGTH, near


@settings(max_examples=300, deadline=None)
@given(seeds, st.integers(0, 5))
def test_samples_are_those_drawn_one_by_one(seed, chain):
    wish = sampling_wish(seed)
    expected = [drawn(chain, wish, number) for number in range(wish.options.beam_size)]
    if any(near for *_, near in expected):
        return
    [found] = decode(MODEL, [source(chain)], wish.options, [wish.constraint])
    assert Counter((h.tokens, h.finish_reason) for h in found) == Counter(sample[:2] for sample in expected)
    for group in (True, False):
        scores = [h.score for h in found if (h.finish_reason is FinishReason.END_OF_SEQUENCE) is group]
        assert scores == sorted(scores, reverse=True)


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(0, 5), st.integers(1, 6))
def test_a_sample_does_not_depend_on_how_many_are_drawn(seed, chain, fewer):
    wish = sampling_wish(seed)
    all_options = wish.options
    fewer = min(fewer, all_options.beam_size)
    few_options = replace(all_options, beam_size=fewer, hypothesis_count=fewer)
    every, few = decode(MODEL, [source(chain)] * 2, [all_options, few_options], [wish.constraint] * 2)
    assert len(every) == all_options.beam_size
    assert len(few) == fewer
    assert not Counter(h.tokens for h in few) - Counter(h.tokens for h in every)


def options(count: int, sampling: Sampling, size: int, max_length: int = 3) -> DecodingOptions:
    return DecodingOptions(count, max_length, size, SPECIAL, hypothesis_count=count, sampling=sampling)


SMALL = MarkovModel([random_table(11, 5, sharpness=1.0)])


def enumerated(sampling: Sampling, max_length: int) -> dict[Tokens, float]:
    """Return the probability of every answer of `SMALL`, from the definitions in decoding.proto."""
    shares: dict[Tokens, float] = {}
    live: dict[Tokens, float] = {(): 1.0}
    for step in range(max_length + 1):
        following: dict[Tokens, float] = {}
        for tokens, share in live.items():
            before, last = (SPECIAL.bos, SPECIAL.bos, *tokens)[-2:]
            row = SMALL.tables[0, before, last, SPECIAL.eos :].astype(np.float64) / sampling.temperature
            probability = np.exp(row) / np.exp(row).sum()
            best = np.argsort(-probability)[: sampling.top_k]
            probability = probability[best] / probability[best].sum()
            nucleus = 1 + int((probability.cumsum() < sampling.top_p).sum())
            for token, one in zip(best[:nucleus] + SPECIAL.eos, probability[:nucleus], strict=False):
                after = (*tokens, int(token)) if step < max_length or token == SPECIAL.eos else tokens
                into = shares if token == SPECIAL.eos or step == max_length else following
                into[after] = into.get(after, 0.0) + share * one / probability[:nucleus].sum()
        live = following
    assert math.isclose(sum(shares.values()), 1.0)
    return shares


def assert_follows(counts: Counter[Tokens], shares: dict[Tokens, float]) -> None:
    """Pearson's chi-square test, five standard deviations wide; the seeds are fixed, so that it always says the same."""
    total = counts.total()
    assert counts.keys() <= shares.keys()
    common = [tokens for tokens, share in shares.items() if share * total >= 5]
    rare = total - sum(counts[tokens] for tokens in common)
    statistic = sum((counts[tokens] - total * shares[tokens]) ** 2 / (total * shares[tokens]) for tokens in common)
    if expected := total * (1 - sum(shares[tokens] for tokens in common)):
        statistic += (rare - expected) ** 2 / max(expected, 1.0)
    freedom = len(common)
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1),
        Sampling(2, temperature=0.5),
        Sampling(3, temperature=3.0),
        Sampling(4, top_k=2),
        Sampling(5, top_p=0.6),
        Sampling(6, temperature=2.0, top_k=3, top_p=0.8),
    ],
    ids=str,
)
def test_many_draws_are_distributed_as_enumerated(sampling):
    [found] = decode(SMALL, [source()], options(8000, sampling, 5))
    assert len(found) == 8000
    assert_follows(Counter(h.tokens for h in found), enumerated(sampling, 3))


def test_the_samples_of_one_request_are_independent_of_each_other_and_of_other_seeds():
    """Pairs: two samples of one seed, and the first samples of two seeds that follow each other."""
    wanted = [options(2, Sampling(seed), 5, max_length=1) for seed in range(4000)]
    pairs: Counter[Tokens] = Counter()
    for first in range(0, len(wanted), 500):
        # In the order they were drawn: a request of one sample gets the first of a request of two.
        alone = [replace(one, beam_size=1, hypothesis_count=1) for one in wanted[first : first + 500]]
        every = decode(SMALL, [source()] * 500, wanted[first : first + 500])
        ones = [found[0].tokens for found in decode(SMALL, [source()] * 500, alone)]
        others = []
        for one, found in zip(ones, every, strict=True):
            left = [h.tokens for h in found]
            left.remove(one)
            others.append(left[0])
        pairs.update((*one, SPECIAL.pad, *other) for one, other in zip(ones, others, strict=True))
        pairs.update((*one, SPECIAL.bos, *other) for one, other in zip(ones[::2], ones[1::2], strict=True))
    shares = enumerated(Sampling(0), 1)
    for between in (SPECIAL.pad, SPECIAL.bos):
        joint = {(*one, between, *other): p * q for one, p in shares.items() for other, q in shares.items()}
        assert_follows(Counter({pair: n for pair, n in pairs.items() if between in pair}), joint)


def test_numbers_are_a_function_of_seed_step_and_place_alone():
    numbers = np.array([[uniforms(seed, step, 50) for step in range(40)] for seed in (0, 1, 2**63 - 1)])
    for seed, of_seed in zip((0, 1, 2**63 - 1), numbers, strict=True):
        for step in (0, 7, 39):
            np.testing.assert_array_equal(uniforms(seed, step, 3), of_seed[step, :3])
    assert len(np.unique(numbers)) == numbers.size, "no draw is used twice"
    assert 0 <= numbers.min() < 0.01
    assert 0.99 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 5 / math.sqrt(12 * numbers.size)
    centred = (numbers - 0.5).reshape(3, 40, 50)
    for one, other in (
        (centred[:, 1:], centred[:, :-1]),
        (centred[..., 1:], centred[..., :-1]),
        (centred[1:], centred[:-1]),
    ):
        assert abs((one * other).mean()) < 5 / 12 / math.sqrt(one.size), (
            "neighbours in seed, step or place are unrelated"
        )


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(0, 5), st.sampled_from([{"top_k": 1}, {"top_p": 1e-9}]))
def test_sampling_that_leaves_one_token_is_greedy(seed, chain, narrow):
    greedy = DecodingOptions(1, 8, VOCABULARY, SPECIAL)
    sampled = replace(greedy, beam_size=3, hypothesis_count=3, sampling=Sampling(seed, **narrow))
    [(best,), found] = decode(MODEL, [source(chain)] * 2, [greedy, sampled])
    assert [h.tokens for h in found] == [best.tokens] * 3


def test_what_is_banned_or_has_no_probability_is_never_drawn():
    table = random_table(5, 6, sharpness=0.1).copy()
    table[..., FIRST] = -np.inf
    asked = replace(options(2000, Sampling(0, temperature=100.0), 6, max_length=4), min_length=2)
    [found] = decode(MarkovModel([table]), [source()], asked)
    assert len(found) == 2000
    assert not any(FIRST in h.tokens for h in found)
    assert min(len(h.tokens) for h in found if h.finish_reason is FinishReason.END_OF_SEQUENCE) == 3
