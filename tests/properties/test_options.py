"""Every decoding option against brute force: a beam as wide as there are prefixes finds what enumeration does.

The reference scores all answers up to the maximum length from the definitions in decoding.proto and in the papers named there,
and leaves out what the request's rules rule out. It shares no step with a search.
"""

import itertools
import math
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.options import LengthNormalization
from serving.decoding.search import decode
from tests.fakes.glancing import GlancingModel
from tests.fakes.markov import FIRST, SPECIAL, random_table, source
from tests.fakes.wishes import PIECES, SEARCHED, Tokens, Wish, missing, random_wish

MODELS = {
    size: GlancingModel(
        [random_table(chain, size, levels=3 if chain % 2 else None, sharpness=1 + chain) for chain in range(6)]
    )
    for size in (4, 5, 6)
}
LONGEST = {4: 5, 5: 5, 6: 4}
EXHAUSTIVE = 250
"""More than there are prefixes of any of these lengths: 3^5 of three tokens, 2^5 of two."""
ALTERNATIVES = tuple(kind for kind in SEARCHED if kind != "required")

seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Question:
    """A request to one chain, its beam exhaustive."""

    model: GlancingModel
    chain: int
    length: int
    wish: Wish


def question(seed: int, kinds: tuple[str, ...], share: float = 1.0) -> Question:
    random = Random(seed)
    size = random.choice(list(MODELS))
    wish = random_wish(random, size, beam_sizes=(1, 4), lengths=(1, LONGEST[size]), kinds=kinds, share=share)
    options = wish.options
    if not options.scored:
        # Patience ends a search that has not seen everything: it is compared in test_narrow_beams.py.
        wide = EXHAUSTIVE * (options.hypothesis_count if options.alternatives else 1)
        wish = replace(wish, options=replace(options, beam_size=wide, patience=None))
    return Question(MODELS[size], random.randrange(6), random.randint(1, 4), wish)


def answer(asked: Question) -> list[Hypothesis]:
    [found] = decode(asked.model, [source(asked.chain, asked.length)], asked.wish.options, [asked.wish.constraint])
    return list(found)


def log_probs_of(asked: Question, tokens: Tokens) -> list[float]:
    path = (SPECIAL.bos, SPECIAL.bos, *tokens)
    table = asked.model.tables[asked.chain]
    return [float(table[path[at], path[at + 1], path[at + 2]]) for at in range(len(tokens))]


def score_of(asked: Question, tokens: Tokens) -> float:
    """Score an answer as decoding.proto says; -inf where the model rules it out."""
    options = asked.wish.options
    total = 0.0
    for place, log_prob in enumerate(log_probs_of(asked, tokens)):
        # Keskar et al. 2019: what the hypothesis holds already counts for less.
        repeated = tokens[place] in tokens[:place]
        total += float(np.float32(log_prob) * np.float32(options.repetition_penalty if repeated else 1))
    length = len(tokens)
    plain = options.length_normalization is LengthNormalization.PLAIN
    score = total / (length if plain else (5 + length) / 6) ** options.length_penalty
    if options.coverage_penalty:
        path = (SPECIAL.bos, SPECIAL.bos, *tokens)
        looks = [asked.model.look(asked.chain, path[at], path[at + 1], asked.length) for at in range(length)]
        received = np.sum(looks, axis=0, dtype=np.float64)
        score += options.coverage_penalty * sum(math.log(min(max(one, 1e-6), 1.0)) for one in received)
    return score


def every_answer(asked: Question) -> dict[Tokens, float]:
    """Return all whole answers that the request allows, with their scores."""
    options = asked.wish.options
    meaningful = range(FIRST, options.vocabulary_size)
    bodies = itertools.chain.from_iterable(
        itertools.product(meaningful, repeat=length) for length in range(options.max_length + 1)
    )
    whole = [(*body, SPECIAL.eos) for body in bodies]
    allowed = [tokens for tokens in whole if asked.wish.well_formed(tokens)]
    return {tokens: score for tokens in allowed if (score := score_of(asked, tokens)) > -math.inf}


def assert_is_brute_force(asked: Question) -> None:
    options = asked.wish.options
    expected = every_answer(asked)
    found = answer(asked)
    ended = [h for h in found if h.finish_reason is FinishReason.END_OF_SEQUENCE]
    best = sorted(expected.values(), reverse=True)[: options.hypothesis_count]
    assert [h.score for h in ended] == pytest.approx(best, rel=1e-12)
    assert len({h.tokens for h in found}) == len(found)
    for one in ended:
        assert one.score == pytest.approx(expected[one.tokens], rel=1e-12)
    for one in found:
        assert list(one.token_log_probs) == log_probs_of(asked, one.tokens), "reported log-probs stay the model's"
        assert one.log_prob == pytest.approx(math.fsum(one.token_log_probs), rel=1e-12)
        assert asked.wish.well_formed(one.tokens)
    assert_cut_is_what_cannot_end(asked, found[len(ended) :])


def assert_cut_is_what_cannot_end(asked: Question, cut: list[Hypothesis]) -> None:
    """In an exhaustive beam everything that may end does: what is cut may not."""
    options = asked.wish.options
    for one in cut:
        assert one.finish_reason in (FinishReason.MAX_LENGTH, FinishReason.DEAD_END)
        assert SPECIAL.eos not in one.tokens
        ending = (*one.tokens, SPECIAL.eos)
        assert not asked.wish.well_formed(ending) or score_of(asked, ending) == -math.inf
        if one.finish_reason is FinishReason.MAX_LENGTH:
            assert len(one.tokens) == options.max_length
        if one.tokens:
            assert one.score == pytest.approx(score_of(asked, one.tokens), rel=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in SEARCHED if kind not in ("patience", "alternatives")])
def test_an_option_by_itself_is_brute_force(kind):
    for seed in range(40):
        assert_is_brute_force(question(seed, (kind, "hypothesis_count")))


@settings(max_examples=300, deadline=None)
@given(seeds)
def test_options_together_are_brute_force(seed):
    kinds = tuple(kind for kind in SEARCHED if kind != "alternatives")
    assert_is_brute_force(question(seed, kinds, 0.4))


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_a_required_phrase_is_there_if_anything_may_hold_it(seed):
    asked = question(seed, ("required", "hypothesis_count", "prefix", "suppressed_tokens", "ngram"), 0.7)
    found = answer(asked)
    if every_answer(asked):
        assert not any(missing(asked.wish.options, h.tokens) for h in found)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_alternatives_are_the_best_that_begin_with_each_of_the_best_tokens(seed):
    asked = question(seed, ("alternatives", *ALTERNATIVES), 0.4)
    options = replace(asked.wish.options, alternatives=True)
    asked = replace(asked, wish=replace(asked.wish, options=options))
    found = answer(asked)
    fork = len(options.prefix)
    first_tokens = best_tokens_after_the_prefix(asked)[: options.hypothesis_count]
    if fork == options.max_length or missing_prefix(asked) or not first_tokens:
        return  # nothing to choose between
    assert sorted(h.tokens[fork] for h in found) == sorted(first_tokens)
    expected = every_answer(asked)
    for one in found:
        rivals = [score for tokens, score in expected.items() if tokens[: fork + 1] == one.tokens[: fork + 1]]
        if rivals:
            assert one.finish_reason is FinishReason.END_OF_SEQUENCE
            assert one.score == pytest.approx(max(rivals), rel=1e-12)
        else:
            assert one.finish_reason is not FinishReason.END_OF_SEQUENCE
    ordered = [(h.finish_reason is not FinishReason.END_OF_SEQUENCE, -h.score) for h in found]
    assert ordered == sorted(ordered)


def missing_prefix(asked: Question) -> bool:
    return -math.inf in log_probs_of(asked, asked.wish.options.prefix)


def best_tokens_after_the_prefix(asked: Question) -> list[int]:
    options = asked.wish.options
    prefix = options.prefix
    row = asked.model.tables[asked.chain][(SPECIAL.bos, SPECIAL.bos, *prefix)[-2:]]
    possible = [
        token
        for token in range(SPECIAL.eos, options.vocabulary_size)
        if asked.wish.allows(prefix, token) and row[token] > -np.inf
    ]
    by_log_prob = sorted(possible, key=lambda token: -row[token])
    return sorted(
        by_log_prob, key=lambda token: -row[token] * np.float32(options.repetition_penalty if token in prefix else 1)
    )


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_a_scored_target_is_scored_token_by_token(seed):
    asked = question(seed, ("scored",))
    rest = question(seed, ("length_penalty", "coverage_penalty", "attention"), 0.5).wish.options
    names = ("length_penalty", "length_normalization", "coverage_penalty", "attention")
    options = replace(asked.wish.options, **{name: getattr(rest, name) for name in names})
    asked = replace(asked, wish=replace(asked.wish, options=options))
    target = (*options.prefix, SPECIAL.eos)
    (found,) = answer(asked)
    log_probs = log_probs_of(asked, target)
    if -math.inf in log_probs:
        assert found.finish_reason is FinishReason.DEAD_END
        assert found.tokens == target[: log_probs.index(-math.inf)]
        return
    assert found.tokens == target
    assert found.finish_reason is FinishReason.END_OF_SEQUENCE
    assert list(found.token_log_probs) == log_probs
    assert found.score == pytest.approx(score_of(asked, target), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_what_is_found_is_scored_the_same_as_a_target(seed):
    asked = question(seed, ("length_penalty", "coverage_penalty", "min_length", "ngram", "attention"), 0.5)
    options = asked.wish.options
    best = answer(asked)[0]
    if best.finish_reason is not FinishReason.END_OF_SEQUENCE:
        return
    target = best.tokens[:-1]
    scoring = replace(
        options,
        beam_size=1,
        hypothesis_count=1,
        prefix=target,
        scored=True,
        max_length=max(1, len(target)),
        min_length=0,
    )
    [scored] = decode(asked.model, [source(asked.chain, asked.length)], scoring)[0]
    assert scored == best
    if options.attention:
        np.testing.assert_array_equal(scored.attention, best.attention)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_no_answer_holds_a_suppressed_phrase_as_whole_words(seed):
    random = Random(seed)
    model = GlancingModel([random_table(random.randrange(1000), len(PIECES), sharpness=random.choice([0.5, 3.0]))])
    wish = random_wish(random, len(PIECES), lengths=(4, 10), kinds=("suppressed_phrases", "hypothesis_count"), share=1)
    for found in decode(model, [source()], wish.options, [wish.constraint])[0]:
        words = "".join(PIECES[token] for token in found.tokens if token != SPECIAL.eos).split("▁")
        for phrase in wish.phrases:
            banned = phrase.split("▁")[1:]
            places = range(1, len(words) - len(banned) + 1)  # before the first ▁ stands what begins no word
            assert not any(words[place : place + len(banned)] == banned for place in places)
