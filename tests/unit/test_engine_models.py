"""Models that come and go while the engine works: nobody who was taken is lost, and who is gone is freed."""

import gc
import threading
import weakref
from concurrent.futures import CancelledError

import numpy as np
import pytest

from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.engine import Engine, Load
from serving.ensemble import Ensemble, Member, joint_inputs
from serving.errors import Draining, UnknownModel
from serving.scheduler import Limits
from tests.fakes.faulty import GatedModel
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, random_table, source

ENDLESS = first_order({1: {3: 1.0}, 3: {3: 1.0}}, 4)  # bos, then token 3 for ever
SHORT = first_order({1: {3: 1.0}, 3: {2: 1.0}}, 4)  # bos, 3, eos
WAIT_S = 60


def options(**changes):
    defaults = {"beam_size": 1, "max_length": 5, "vocabulary_size": 4, "special": SPECIAL}
    return DecodingOptions(**(defaults | changes))


def test_a_model_that_is_added_answers_and_one_that_is_retired_is_unknown():
    with Engine({"a": MarkovModel([SHORT])}) as engine:
        with pytest.raises(UnknownModel, match="'b' is not loaded; loaded: a"):
            engine.submit("b", source(), options())
        engine.add("b", MarkovModel([ENDLESS]))
        assert engine.submit("b", source(), options()).future.result(WAIT_S).hypotheses[0].tokens == (3,) * 5
        engine.retire("a").result(WAIT_S)
        with pytest.raises(UnknownModel, match="'a' is not loaded; loaded: b"):
            engine.submit("a", source(), options())
        with pytest.raises(UnknownModel):
            engine.retire("a")
        assert list(engine.models) == ["b"]


def test_a_retired_model_answers_who_waits_and_who_runs_and_only_then_is_gone():
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}, Limits(batch_sources=1)) as engine:
        running = engine.submit("m", source(), options())
        gate.wait_until_stepping()
        waiting = engine.submit("m", source(), options())
        gone = engine.retire("m")
        with pytest.raises(UnknownModel, match="loaded: none"):
            engine.submit("m", source(), options())
        gate.let_step(6)
        assert running.future.result(WAIT_S).hypotheses[0].tokens == (3,) * 5
        assert not gone.done()
        gate.let_step(6)
        assert waiting.future.result(WAIT_S).hypotheses[0].tokens == (3,) * 5
        gone.result(WAIT_S)
    assert engine.counters.finished == 2


def test_another_model_takes_the_key_while_the_old_one_finishes():
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}) as engine:
        old = engine.submit("m", source(), options())
        gate.wait_until_stepping()
        gone = engine.retire("m")
        engine.add("m", MarkovModel([SHORT]))
        new = engine.submit("m", source(), options())
        gate.let_step(2)  # the two take turns
        assert new.future.result(WAIT_S).hypotheses[0].tokens == (3, SPECIAL.eos)
        assert not gone.done()
        gate.let_step(10)
        assert old.future.result(WAIT_S).hypotheses[0].tokens == (3,) * 5
        gone.result(WAIT_S)


def test_a_cancelled_request_does_not_keep_a_retired_model():
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}) as engine:
        ticket = engine.submit("m", source(), options(max_length=1000))
        gate.wait_until_stepping()
        gone = engine.retire("m")
        ticket.cancel()
        gate.let_step()
        gone.result(WAIT_S)
    assert engine.counters.cancelled == 1


def test_a_model_is_freed_when_it_is_gone():
    model = MarkovModel([SHORT])
    freed = weakref.ref(model)
    with Engine({"m": model, "other": MarkovModel([SHORT])}) as engine:
        engine.submit("m", source(), options()).future.result(WAIT_S)
        gone = engine.retire("m")
        gone.result(WAIT_S)
        del model
        gc.collect()
        assert freed() is None
        assert engine.running


def test_an_ensemble_goes_with_its_member():
    models = {"a": MarkovModel([SHORT]), "b": MarkovModel([SHORT])}
    inputs = joint_inputs([source(), source()])

    def make() -> Ensemble:
        return Ensemble([Member(engine.models[key], 1.0) for key in ("a", "b")], 4, None)

    with Engine(models) as engine:
        ask = {"make": make, "members": ("a", "b")}
        assert engine.submit("a + b", inputs, options(), **ask).future.result(WAIT_S).hypotheses[0].tokens == (3, 2)
        assert engine.load("a + b") == Load(0, 0, 0)
        engine.retire("b").result(WAIT_S)
        with pytest.raises(UnknownModel, match="'b' is not loaded; loaded: a"):
            engine.submit("a + b", inputs, options(), **ask)
        assert engine.submit("a", source(), options()).future.result(WAIT_S)


def test_a_model_in_the_background_waits_for_all_others():
    """One step of it may be under way when somebody comes, no more."""
    front, back = GatedModel(MarkovModel([ENDLESS])), GatedModel(MarkovModel([ENDLESS]))
    with Engine({"front": front}) as engine:
        engine.add("back", back, background=True)
        behind = engine.submit("back", source(), options())
        back.wait_until_stepping()
        ahead = engine.submit("front", source(), options())
        back.let_step()
        front.wait_until_stepping()
        back.let_step(10)
        front.let_step(10)
        assert ahead.future.result(WAIT_S).step_count == 6
        assert behind.future.result(WAIT_S).step_count == 6
        assert len(back.rows) == 6
        with pytest.raises(UnknownModel, match="loaded: front"):
            engine.submit("nobody", source(), options())


def test_retiring_where_no_thread_works_is_done_at_once_and_adding_to_a_stopped_engine_is_refused():
    engine = Engine({"m": MarkovModel([SHORT]), "n": MarkovModel([SHORT])})
    assert engine.retire("m").done()
    engine.start()
    engine.stop()
    assert engine.retire("n").done()
    with pytest.raises(Draining):
        engine.add("m", MarkovModel([SHORT]))


def test_a_stop_ends_what_a_retired_model_still_had():
    gate = GatedModel(MarkovModel([ENDLESS]))
    engine = Engine({"m": gate})
    engine.start()
    ticket = engine.submit("m", source(), options(max_length=1000))
    gate.wait_until_stepping()
    gone = engine.retire("m")
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    with pytest.raises(Draining):
        engine.submit("m", source(), options(), make=lambda: gate)
    gate.let_step()
    stopping.join(WAIT_S)
    with pytest.raises(Draining, match="shut down"):
        ticket.future.result(WAIT_S)
    gone.result(WAIT_S)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_and_goes_every_request_ends_once_with_its_models_answer(seed):
    """Three threads submit and cancel, one adds and retires: each answer is what the model gives alone."""
    tables = [random_table(number, 9) for number in range(4)]
    wanted = options(vocabulary_size=9, beam_size=2, max_length=10, length_penalty=1.0)
    alone = [decode(MarkovModel([table]), [source()], wanted)[0] for table in tables]
    wrong: list[str] = []
    unknown: list[str] = []
    gone = []
    calling = threading.Event()
    calling.set()

    def call(number: int) -> None:
        generator = np.random.default_rng([seed, number])
        for _ in range(60):
            which = int(generator.integers(0, 4))
            try:
                ticket = engine.submit(f"m{which}", source(), wanted)
            except UnknownModel:
                unknown.append(f"m{which}")
                continue
            if generator.random() < 0.2:
                ticket.cancel()
            try:
                if ticket.future.result(WAIT_S).hypotheses != alone[which]:
                    wrong.append(f"m{which}")
            except CancelledError:
                pass

    def change() -> None:
        generator = np.random.default_rng([seed, 99])
        while calling.is_set():
            which = int(generator.integers(1, 4))  # m0 always stays
            if f"m{which}" in engine.models:
                gone.append(engine.retire(f"m{which}"))
            else:
                engine.add(f"m{which}", MarkovModel([tables[which]]), background=bool(generator.random() < 0.3))
            threading.Event().wait(0.001)

    engine = Engine({f"m{number}": MarkovModel([table]) for number, table in enumerate(tables)}, Limits(batch_rows=16))
    with engine:
        callers = [threading.Thread(target=call, args=(number,)) for number in range(3)]
        changer = threading.Thread(target=change)
        for thread in (*callers, changer):
            thread.start()
        for caller in callers:
            caller.join()
        calling.clear()
        changer.join()
        for one in gone:
            one.result(WAIT_S)
    assert wrong == []
    assert "m0" not in unknown
    assert gone
    counters = engine.counters
    assert counters.submitted == 180 - len(unknown)
    assert counters.finished + counters.cancelled == counters.submitted
