"""What the engine does beside searching: it tells of progress, evicts at once, and makes and forgets ensembles."""

import threading

import pytest

from serving.decoding.options import DecodingOptions, Sampling
from serving.engine import MOST_MADE, Engine
from serving.ensemble import Ensemble, Member, joint_inputs
from serving.errors import ModelFault, Overloaded, UnknownModel
from serving.scheduler import Limits
from tests.fakes.faulty import GatedModel
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, random_table, source

ENDLESS = first_order({1: {3: 1.0}, 3: {3: 1.0}}, 4)  # bos, then token 3 for ever
SHORT = first_order({1: {3: 1.0}, 3: {2: 1.0}}, 4)  # bos, 3, eos
WAIT_S = 30


def options(**changes):
    return DecodingOptions(**({"beam_size": 1, "max_length": 5, "vocabulary_size": 4, "special": SPECIAL} | changes))


# ---- progress


def test_progress_is_told_after_every_step_but_the_last():
    said = []
    with Engine({"m": MarkovModel([ENDLESS])}) as engine:
        ticket = engine.submit("m", source(), options(max_length=4), on_progress=said.append)
        decoded = ticket.future.result(WAIT_S)
    assert decoded.step_count == 5
    assert [progress.tokens for progress in said] == [(3,) * count for count in range(1, 5)]
    assert [progress.certain for progress in said] == [1, 2, 3, 4]


def test_progress_is_told_on_the_engines_thread_and_only_to_who_asked():
    threads = set()
    model = MarkovModel([random_table(chain, 9) for chain in range(3)])
    wanted = options(vocabulary_size=9, beam_size=3, max_length=20, min_length=10)
    told = {0: [], 1: []}
    with Engine({"m": model}) as engine:

        def note(number):
            def on_progress(progress):
                threads.add(threading.current_thread().name)
                told[number].append(progress)

            return on_progress

        tickets = [
            engine.submit("m", source(0), wanted, on_progress=note(0)),
            engine.submit("m", source(1), wanted, on_progress=note(1)),
            engine.submit("m", source(2), wanted),
        ]
        answers = [ticket.future.result(WAIT_S) for ticket in tickets]
    assert threads == {"engine-0"}
    for number, said in told.items():
        assert len(said) == answers[number].step_count - 1
        best = answers[number].hypotheses[0].tokens
        assert all(progress.tokens[: progress.certain] == best[: progress.certain] for progress in said)


def test_nothing_is_told_of_a_request_that_was_cancelled():
    said = []
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}) as engine:
        stays = engine.submit("m", source(), options(max_length=30))
        leaves = engine.submit("m", source(), options(max_length=30), on_progress=said.append)
        gate.wait_until_stepping()
        gate.let_step(3)
        for _ in range(3):
            gate.wait_until_stepping()
        count = len(said)
        assert count >= 2
        leaves.cancel()
        gate.let_step(100)
        stays.future.result(WAIT_S)
    assert len(said) <= count + 1, "the step under way may still tell of itself"


def test_a_turn_of_another_batch_of_the_model_is_no_progress():
    """Many short sources and a long one run in two batches: each request hears of its own steps alone."""
    gate = GatedModel(MarkovModel([random_table(0, 9)]))
    wanted = options(vocabulary_size=9, beam_size=8, max_length=20, min_length=8)
    told = [[] for _ in range(8)]
    with Engine({"m": gate}) as engine:

        def ask_for(number: int, length: int):
            return engine.submit("m", source(), wanted, source_length=length, on_progress=told[number].append)

        tickets = [ask_for(number, 10) for number in range(6)]
        while max(gate.rows, default=0) < 40:  # more than take anybody in
            gate.wait_until_stepping()
            gate.let_step()
        tickets += [ask_for(number, 200) for number in range(6, 8)]
        gate.let_step(1000)
        answers = [ticket.future.result(WAIT_S) for ticket in tickets]
    assert [len(said) for said in told] == [answer.step_count - 1 for answer in answers]
    assert len(gate.rows) > answers[0].step_count + 1, "they were two batches"


# ---- eviction


@pytest.mark.parametrize(
    "changes",
    [
        {"beam_size": 4, "hypothesis_count": 2},
        {"beam_size": 4, "hypothesis_count": 4, "sampling": Sampling(1)},
        {"beam_size": 4, "hypothesis_count": 2, "alternatives": True},
    ],
    ids=["beam", "samples", "alternatives"],
)
def test_the_rows_of_a_cancelled_request_are_gone_at_the_next_turn(changes):
    chain = first_order({last: {3: 0.5, 4: 0.3, 5: 0.2} for last in range(6)}, 6)
    gate = GatedModel(MarkovModel([chain]))
    wanted = options(vocabulary_size=6, max_length=50, **changes)
    with Engine({"m": gate}) as engine:
        stays = engine.submit("m", source(), options(vocabulary_size=6, max_length=50))
        gate.wait_until_stepping()
        leaves = engine.submit("m", source(), wanted)
        gate.let_step(4)
        for _ in range(4):
            gate.wait_until_stepping()
        assert gate.rows[-1] == 1 + 4
        leaves.cancel()
        gate.let_step()
        gate.wait_until_stepping()
        assert gate.rows[-1] == 1
        assert engine.counters.evicted_rows == 4
        assert engine.load("m").running_rows == 1
        gate.let_step(100)
        stays.future.result(WAIT_S)
    assert engine.counters.cancelled == 1


def test_a_waiting_request_that_is_cancelled_never_has_a_row():
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}, Limits(batch_sources=1)) as engine:
        runs = engine.submit("m", source(), options())
        gate.wait_until_stepping()
        waits = engine.submit("m", source(), options(beam_size=4))
        waits.cancel()
        gate.let_step(100)
        runs.future.result(WAIT_S)
        engine.submit("m", source(), options()).future.result(WAIT_S)
    assert max(gate.rows) == 1
    assert (engine.counters.cancelled, engine.counters.evicted_rows) == (1, 0)


def test_samples_without_numbers_fail_their_own_request_alone():
    """Also where the model gives plus infinity, which would outweigh everything."""
    for wrong in (float("nan"), float("inf")):
        broken = random_table(3, 9).copy()
        broken[3, 4] = wrong
        broken[1, 1, 3] = broken[1, 3, 4] = 0.0
        model = MarkovModel([random_table(1, 9), broken])
        wanted = options(vocabulary_size=9, beam_size=3, hypothesis_count=3, sampling=Sampling(5, top_k=1))
        with Engine({"m": model}) as engine:
            good, bad = (engine.submit("m", source(chain), wanted) for chain in (0, 1))
            assert len(good.future.result(WAIT_S).hypotheses) == 3
            with pytest.raises(ModelFault, match="not numbers"):
                bad.future.result(WAIT_S)


# ---- ensembles


class Maker:
    """Makes ensembles of the engine's one model, and counts."""

    def __init__(self, model) -> None:
        self.model = model
        self.made = 0

    def __call__(self) -> Ensemble:
        self.made += 1
        return Ensemble([Member(self.model, 1.0), Member(self.model, 1.0)], 4, None)


def ask(engine, key, make):
    return engine.submit(key, joint_inputs([source(), source()]), options(), make=make)


def test_an_ensemble_is_made_when_it_is_first_asked_for_and_used_again():
    make = Maker(MarkovModel([SHORT]))
    with Engine({"m": make.model}) as engine:
        for _ in range(3):
            assert ask(engine, "m + m", make).future.result(WAIT_S).hypotheses[0].tokens == (3, SPECIAL.eos)
        assert make.made == 1
        with pytest.raises(UnknownModel, match="loaded: m"):
            engine.submit("other", source(), options())


def test_ensembles_that_nobody_uses_are_forgotten_oldest_first():
    make = Maker(MarkovModel([SHORT]))
    with Engine({"m": make.model}) as engine:
        for number in range(MOST_MADE + 4):
            ask(engine, f"e{number}", make).future.result(WAIT_S)
        assert make.made == MOST_MADE + 4
        for number in range(4, MOST_MADE + 4):
            ask(engine, f"e{number}", make).future.result(WAIT_S)
        assert make.made == MOST_MADE + 4, "the newest are still there"
        ask(engine, "e0", make).future.result(WAIT_S)
        assert make.made == MOST_MADE + 5, "the oldest was made again"
        assert engine.submit("m", source(), options()).future.result(WAIT_S).step_count == 2, "models stay"


def test_an_ensemble_at_work_is_not_forgotten():
    gate, quick = GatedModel(MarkovModel([ENDLESS])), Maker(MarkovModel([SHORT]))
    with Engine({"m": quick.model, "gated": gate}) as engine:
        wanted = options(max_length=1000)
        working = engine.submit("busy", joint_inputs([source(), source()]), wanted, make=Maker(gate))
        for number in range(MOST_MADE + 4):
            ticket = ask(engine, f"e{number}", quick)
            gate.let_step(6)  # three turns of two members each: time for the other's two
            ticket.future.result(WAIT_S)
        assert engine.load("busy").running_requests == 1
        working.cancel()
        gate.let_step(100)


def test_more_ensembles_at_work_than_are_kept_are_refused():
    gate, quick = GatedModel(MarkovModel([ENDLESS])), Maker(MarkovModel([SHORT]))
    with Engine({"m": quick.model, "gated": gate}) as engine:
        tickets = [ask(engine, "busy", Maker(gate))]
        gate.wait_until_stepping()
        tickets += [ask(engine, f"e{number}", quick) for number in range(1, MOST_MADE)]
        with pytest.raises(Overloaded) as caught:
            ask(engine, "one too many", quick)
        assert caught.value.retry_after_s > 0
        assert (engine.counters.refused, engine.counters.submitted) == (1, MOST_MADE)
        gate.let_step(100)
        for ticket in tickets:
            ticket.future.result(WAIT_S)
        assert ask(engine, "one too many", quick).future.result(WAIT_S).step_count == 2


def test_many_threads_that_ask_for_one_ensemble_have_it_made_once():
    make = Maker(MarkovModel([SHORT]))
    answers = []
    with Engine({"m": make.model}) as engine:

        def call() -> None:
            for _ in range(20):
                answers.append(ask(engine, "e", make).future.result(WAIT_S).hypotheses[0].tokens)

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(WAIT_S)
    assert answers == [(3, SPECIAL.eos)] * 80
    assert make.made == 1


def test_an_answer_says_what_the_steps_it_took_part_in_took():
    gate = GatedModel(MarkovModel([ENDLESS]))
    clock = [0.0]
    with Engine({"m": gate}, clock=lambda: clock[0]) as engine:
        first = engine.submit("m", source(), options(max_length=3))
        gate.wait_until_stepping()
        second = engine.submit("m", source(), options(max_length=1))
        for step in range(4):
            clock[0] += 2.0  # while the graph runs
            gate.let_step()
            if step < 3:
                gate.wait_until_stepping()
        one, other = first.future.result(WAIT_S), second.future.result(WAIT_S)
    assert (one.spent.step_s, one.step_count) == (8.0, 4)
    assert (other.spent.step_s, other.step_count) == (4.0, 2)
    assert one.spent.search_s == other.spent.search_s == 0.0
