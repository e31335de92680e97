"""Every decoding option in narrow beams: the hypotheses are exactly those of a search written in plain Python.

What a beam loses depends on every detail of the rule: who is offered what, ties, shares, when it ends. `tests/fakes/naive.py`
follows the documented rule step by step, without arrays, without neighbours, and without a bound to stop at.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.phrases import RequiredPhrases
from serving.decoding.search import decode
from serving.running import Admission, RunningBatch
from tests.fakes.glancing import GlancingModel
from tests.fakes.markov import SPECIAL, MarkovModel, random_table, source
from tests.fakes.naive import BEHIND, Naive, Question
from tests.fakes.wishes import CONTINUING, PIECES, SEARCHED, missing, random_wish

VOCABULARY = len(PIECES)
CHAINS = 12
MODEL = GlancingModel(
    [
        random_table(chain, VOCABULARY, levels=3 if chain % 2 else None, sharpness=(0.5, 2.0, 4.0)[chain % 3])
        for chain in range(CHAINS)
    ]
)
KINDS = (*SEARCHED, "scored")

seeds = st.integers(0, 2**32 - 1)


def question(seed: int, kinds: Sequence[str] = KINDS, share: float = 0.35) -> Question:
    random = Random(seed)
    beams, lengths = random.choice([((1, 3), (1, 4)), ((1, 6), (1, 8)), ((5, 12), (4, 20))])
    wish = random_wish(random, VOCABULARY, beam_sizes=beams, lengths=lengths, kinds=kinds, share=share)
    return Question(MODEL, random.randrange(CHAINS), random.randint(1, 5), wish)


def seen(hypotheses: Sequence[Hypothesis], *, alternatives: bool) -> list[tuple[object, ...]]:
    """Return all there is to hypotheses, in order; equally good alternatives come in the order in which they were over."""
    everything = [
        (
            h.finish_reason in BEHIND,
            -h.score,
            h.tokens,
            h.token_log_probs,
            h.log_prob,
            h.finish_reason,
            None if h.attention is None else h.attention.tolist(),
        )
        for h in hypotheses
    ]
    if not alternatives:
        return everything
    assert [one[:2] for one in everything] == sorted(one[:2] for one in everything)
    return sorted(everything, key=lambda one: one[:3])


def assert_is_naive(asked: Question) -> None:
    wish = asked.wish
    [found] = decode(MODEL, [source(asked.chain, asked.length)], wish.options, [wish.constraint])
    expected = Naive(asked).search()
    alternatives = wish.options.alternatives
    assert seen(found, alternatives=alternatives) == seen(expected, alternatives=alternatives)


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_by_itself_is_searched_by_the_rule(kind):
    for seed in range(40):
        assert_is_naive(question(seed, (kind, "hypothesis_count", "attention"), 0.8))


@settings(max_examples=600, deadline=None)
@given(seeds)
def test_options_together_are_searched_by_the_rule(seed):
    assert_is_naive(question(seed))


@settings(max_examples=300, deadline=None)
@given(seeds, st.integers(0, 12))
def test_a_search_that_is_stopped_answers_with_what_it_has(seed, steps):
    asked = question(seed)
    wish = asked.wish
    batch = RunningBatch(MODEL, SPECIAL)
    batch.admit([Admission(0, wish.options, wish.constraint)], MODEL.encode([source(asked.chain, asked.length)]))
    for _ in range(steps):
        if batch.step():
            return  # over before
    found = batch.stop(0)
    assert (batch.request_count, batch.row_count) == (0, 0)
    assert found.step_count == steps
    expected = Naive(asked).search(steps) if steps else []
    alternatives = wish.options.alternatives
    assert seen(found.hypotheses, alternatives=alternatives) == seen(expected, alternatives=alternatives)


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_phrases_are_there_by_the_end_however_narrow_the_beam(seed):
    """Words of one piece or two, some of them beginnings of others, and just as much room as they take."""
    random = Random(seed)
    beginnings = [token for token in range(SPECIAL.eos + 1, VOCABULARY) if token not in CONTINUING]
    words = [(token,) for token in beginnings] + [(token, more) for token in beginnings for more in CONTINUING]
    words += [(*one, *other) for one in words[:4] for other in words[:4]]
    phrases = tuple(dict.fromkeys(random.choice(words) for _ in range(random.randint(1, 4))))
    required = RequiredPhrases(phrases, CONTINUING)
    wish = random_wish(random, VOCABULARY, beam_sizes=(1, 5), kinds=("hypothesis_count", "patience"))
    options = replace(wish.options, required=required, max_length=required.token_count)
    [found] = decode(MODEL, [source(random.randrange(CHAINS))], options)
    assert not any(missing(options, h.tokens) for h in found)


@settings(max_examples=100, deadline=None)
@given(seeds, st.sampled_from(["nothing", "repetition_penalty", "patience", "length_penalty", "phrases"]))
def test_an_option_that_rules_nothing_out_changes_nothing(seed, kind):
    asked = question(seed, ("hypothesis_count", "min_length", "prefix"))
    options = asked.wish.options
    others = {
        "nothing": {},
        "repetition_penalty": {"repetition_penalty": 1.0},
        "patience": {"patience": 1e9},
        "length_penalty": {"length_penalty": 0.0, "coverage_penalty": 0.0},
        "phrases": {"prefix": (3, *options.prefix)[: options.max_length], "required": RequiredPhrases(((3,),))},
    }
    changed = replace(options, **others[kind])
    unchanged = replace(options, prefix=changed.prefix)
    one, other = decode(MODEL, [source(asked.chain)] * 2, [unchanged, changed])
    assert one == other


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(2, 5), st.integers(1, 3))
def test_alternatives_of_one_place_each_are_greedy_after_their_own_token(seed, count, width):
    asked = question(seed, ("prefix", "min_length", "length_penalty"))
    options = replace(asked.wish.options, beam_size=count * width, hypothesis_count=count, alternatives=True)
    fork = len(options.prefix)
    if fork == options.max_length:
        return
    model = MarkovModel([MODEL.tables[asked.chain]])
    [found] = decode(model, [source()], options)
    for one in found:
        if one.tokens[fork:] in ((), (SPECIAL.eos,)):
            continue
        alone = replace(options, beam_size=width, hypothesis_count=1, alternatives=False, prefix=one.tokens[: fork + 1])
        assert decode(model, [source()], alone)[0][0] == one


def test_the_random_questions_are_about_everything():
    """Were they not, the properties above would say less than they seem to."""
    wanted = [question(seed) for seed in range(1000)]
    reasons: dict[FinishReason, int] = {}
    for asked in wanted:
        for found in Naive(asked).search():
            reasons[found.finish_reason] = reasons.get(found.finish_reason, 0) + 1
    assert min(reasons[reason] for reason in FinishReason if reason is not FinishReason.DEADLINE) > 50
    options = [asked.wish.options for asked in wanted]
    for said in (
        [o.alternatives and o.hypothesis_count > 1 and o.coverage_penalty > 0 for o in options],
        [o.required is not None and o.repetition_penalty > 1 and o.beam_size > 1 for o in options],
        [o.patience is not None and o.length_penalty > 0 and o.hypothesis_count > 1 for o in options],
        [o.scored for o in options],
    ):
        assert sum(said) > 15
    assert np.mean([asked.wish.constraint is not None for asked in wanted]) > 0.3
