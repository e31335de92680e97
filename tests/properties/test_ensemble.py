"""An ensemble is the model whose log-probs are the weighted mean of its members'."""

import math
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.decoding.step import StepInputs
from serving.ensemble import Ensemble, Member, joint_inputs
from serving.running import Admission, RunningBatch
from tests.fakes.glancing import GlancingModel
from tests.fakes.markov import FIRST, SPECIAL, MarkovModel, random_table, source
from tests.fakes.wishes import PIECES, Wish, random_wish

VOCABULARY = len(PIECES)
CHAINS = 4
TABLES = [
    [random_table(100 * member + chain, VOCABULARY, levels=3 if chain % 2 else None) for chain in range(CHAINS)]
    for member in range(3)
]

seeds = st.integers(0, 2**32 - 1)


def weighted(weights: list[float]) -> tuple[Ensemble, GlancingModel]:
    """Return an ensemble, and the one model that it is; both look about as the first member does."""
    shares = [np.float32(weight / sum(weights)) for weight in weights]
    members = [Member(GlancingModel(TABLES[member], seed=member), weight) for member, weight in enumerate(weights)]
    tables = []
    for chain in range(CHAINS):
        table = np.zeros_like(TABLES[0][chain])
        for member, share in enumerate(shares):
            table += share * TABLES[member][chain]
        tables.append(table)
    return Ensemble(members, VOCABULARY, None), GlancingModel(tables, seed=0)


def answer(model, inputs, wish: Wish, length: int):
    """Serve one request, whose own source is the first member's."""
    batch = RunningBatch(model, SPECIAL)
    batch.admit([Admission(0, wish.options, wish.constraint, length)], model.encode([inputs]))
    while True:
        for finished in batch.step():
            return finished.hypotheses


@settings(max_examples=200, deadline=None)
@given(seeds, st.lists(st.sampled_from([0.25, 1.0, 1.0, 3.7, 1000.0]), min_size=1, max_size=3))
def test_an_ensemble_searches_as_one_model_whatever_is_asked_for(seed, weights):
    """The members' sources differ in length, as they do where each has a tokenizer of its own."""
    random = Random(seed)
    wish = random_wish(random, VOCABULARY)
    chain, length = random.randrange(CHAINS), random.randint(1, 5)
    others = [source(chain, random.randint(1, 6)) for _ in weights[1:]]
    ensemble, one = weighted(weights)
    found = answer(ensemble, joint_inputs([source(chain, length), *others]), wish, length)
    expected = answer(one, source(chain, length), wish, length)
    assert found == expected
    for mine, theirs in zip(found, expected, strict=True):
        if wish.options.attention:
            np.testing.assert_array_equal(mine.attention, theirs.attention)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_one_model_twice_is_that_model(seed):
    random = Random(seed)
    wish = random_wish(random, VOCABULARY)
    model = GlancingModel(TABLES[0])
    twice = Ensemble([Member(model, 2.0), Member(model, 2.0)], VOCABULARY, None)
    inputs = source(random.randrange(CHAINS), random.randint(1, 5))
    [found] = decode(twice, [joint_inputs([inputs, inputs])], wish.options, [wish.constraint])
    [alone] = decode(model, [inputs], wish.options, [wish.constraint])
    assert found == alone


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 3.0], [0.2, 5.0, 1.0]])
def test_the_best_answer_is_the_best_by_the_weighted_mean_of_log_probs(weights):
    """By enumeration, from the definition in decoding.proto."""
    ensemble, _ = weighted(weights)
    options = DecodingOptions(2000, 3, VOCABULARY, SPECIAL, hypothesis_count=3)
    bodies = [body for length in range(4) for body in product(range(FIRST, VOCABULARY), repeat=length)]
    for chain in range(CHAINS):
        log_probs = [
            sum(
                weight * float(TABLES[member][chain][path[at], path[at + 1], path[at + 2]])
                for member, weight in enumerate(weights)
                for at in range(len(path) - 2)
            )
            / sum(weights)
            for path in ((SPECIAL.bos, SPECIAL.bos, *body, SPECIAL.eos) for body in bodies)
        ]
        [found] = decode(ensemble, [joint_inputs([source(chain)] * len(weights))], options)
        assert [h.log_prob for h in found] == pytest.approx(sorted(log_probs, reverse=True)[:3], rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_sources_of_an_ensemble_do_not_change_each_others_answers(seed):
    random = Random(seed)
    ensemble, _ = weighted([1.0, 2.0])
    wishes = [random_wish(random, VOCABULARY) for _ in range(4)]
    inputs = [
        joint_inputs([source(chain, random.randint(1, 6)) for _ in range(2)])
        for chain in (random.randrange(CHAINS) for _ in wishes)
    ]
    constraints = [wish.constraint for wish in wishes]
    together = decode(ensemble, inputs, [wish.options for wish in wishes], constraints)
    for one, wish, found in zip(inputs, wishes, together, strict=True):
        assert decode(ensemble, [one], wish.options, [wish.constraint]) == [found]


def test_what_one_member_rules_out_nobody_takes():
    sure = random_table(0, 5).copy()
    sure[..., FIRST] = -np.inf
    members = [Member(MarkovModel([random_table(1, 5)]), 1000.0), Member(MarkovModel([sure]), 0.001)]
    options = DecodingOptions(50, 3, 5, SPECIAL, hypothesis_count=50)
    [found] = decode(Ensemble(members, 5, None), [joint_inputs([source(), source()])], options)
    assert not any(FIRST in h.tokens for h in found)


def test_pointing_members_share_the_points():
    """The vocabulary is the first position and one token a point; it follows the memory's width."""
    points = 4
    tables = [[random_table(7 * member, FIRST + points)] for member in range(2)]
    ensemble = Ensemble([Member(MarkovModel(table), 1.0) for table in tables], None, FIRST)
    mean = MarkovModel([np.float32(0.5) * tables[0][0] + np.float32(0.5) * tables[1][0]])
    options = DecodingOptions(6, 5, FIRST + points, SPECIAL, hypothesis_count=4)
    [found] = decode(ensemble, [joint_inputs([source(0, points)] * 2)], options)
    assert found == decode(mean, [source(0, points)], options)[0]


def test_a_step_answers_queries_whatever_is_banned_and_gives_as_many_candidates_as_asked_for():
    ensemble, one = weighted([1.0, 1.0])
    inputs = StepInputs(
        token=np.array([SPECIAL.bos]),
        parent=np.array([0]),
        source=np.array([0]),
        banned=np.array([[4, 5, SPECIAL.pad]]),
        query=np.array([4]),
        candidates=3,
    )
    encoded = ensemble.encode([joint_inputs([source(), source()])])
    outputs, _ = ensemble.step(inputs, encoded.memory, encoded.state)
    encoded = one.encode([source()])
    expected, _ = one.step(inputs, encoded.memory, encoded.state)
    np.testing.assert_array_equal(outputs.candidate, expected.candidate)
    np.testing.assert_array_equal(outputs.log_prob, expected.log_prob)
    np.testing.assert_array_equal(outputs.query_log_prob, expected.query_log_prob)
    assert math.isfinite(outputs.query_log_prob[0])
    assert outputs.attention is None
