"""Several threads of the engine: they run graphs at once, share who waits, and change no answer."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.claim import Claim
from serving.decoding.options import DecodingOptions
from serving.engine import Engine
from serving.errors import Draining, ModelFault
from serving.scheduler import Limits, Scheduler
from tests.fakes.faulty import GatedModel
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, random_table, source

ENDLESS = first_order({1: {3: 1.0}, 3: {3: 1.0}}, 4)  # bos, then token 3 for ever
WAIT_S = 30


def options(**changes):
    return DecodingOptions(**({"beam_size": 1, "max_length": 5, "vocabulary_size": 4, "special": SPECIAL} | changes))


def plan(hands=2, **limits):
    return Scheduler(Limits(**limits), hands)


# ---- who takes whom


def test_hands_share_the_rows_and_leave_who_waits_to_who_has_fewer():
    shared = plan()
    for request in range(5):
        shared.submit(request, Claim(4, None))
    assert shared.admit(0) == [0, 1, 2]  # of 20 rows it has fewer than 10 until then
    assert shared.admit(0) == []
    assert shared.admit(1) == [3, 4]


def test_one_request_is_work_for_any_hand_until_one_has_it():
    shared = plan()
    shared.submit(0, Claim(5, None))
    assert shared.has_work(0)
    assert shared.has_work(1)
    assert shared.admit(1) == [0]
    assert not shared.has_work(0)
    assert shared.has_work(1)


def test_a_full_batch_is_no_work_for_an_idle_hand():
    shared = plan(batch_rows=8)
    shared.submit(0, Claim(8, None))
    shared.submit(1, Claim(1, None))
    assert shared.admit(0) == [0]
    assert not shared.has_work(1)
    shared.finish(0)
    assert shared.admit(1) == [1]


def test_a_beam_wider_than_a_hands_part_is_taken_by_one_that_has_nothing():
    shared = plan(batch_rows=8)
    shared.submit(0, Claim(8, None))
    assert shared.admit(0) == [0]


def test_a_hand_lets_nobody_go_whom_another_has():
    shared = plan()
    shared.submit(0, Claim(1, 10.0))
    shared.submit(1, Claim(1, 10.0))
    assert (shared.admit(0), shared.admit(1)) == ([0], [1])
    shared.withdraw(1)
    assert shared.sweep(5.0, 0).withdrawn == ()
    assert shared.sweep(5.0, 1).withdrawn == (1,)
    assert shared.sweep(11.0, 1).expired == ()
    assert shared.sweep(11.0, 0).expired == (0,)
    assert not shared.busy


def test_a_hand_is_told_of_its_own_that_want_their_best_now():
    shared = plan()
    for request in range(2):
        shared.submit(request, Claim(1, 10.0, return_best=True))
        assert shared.admit(request) == [request]
    assert shared.due(9.9, 0.5, hand=0) == [0]
    shared.finish(0)
    assert shared.due(9.9, 0.5, hand=1) == [1]


# ---- at work


class Meeting:
    """A model whose first steps wait for one another."""

    def __init__(self, model, parties):
        self.model = model
        self.barrier = threading.Barrier(parties)
        self.met = threading.Event()

    def encode(self, inputs):
        return self.model.encode(inputs)

    def step(self, inputs, memory, state, *, attention=False):
        if not self.met.is_set():
            self.barrier.wait(WAIT_S)
            self.met.set()
        return self.model.step(inputs, memory, state, attention=attention)


def test_two_requests_step_at_the_same_time():
    model = Meeting(MarkovModel([ENDLESS]), 2)
    with Engine({"m": model}, threads=2) as engine:
        tickets = [engine.submit("m", source(), options()) for _ in range(2)]
        for ticket in tickets:
            assert ticket.future.result(WAIT_S).hypotheses[0].tokens == (3,) * 5


@given(
    st.integers(1, 3), st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.booleans()), min_size=1, max_size=12)
)
@settings(max_examples=25, deadline=None)
def test_answers_are_those_of_one_thread(threads, wanted):
    tables = [random_table(chain, 9) for chain in range(5)]

    def ask(engine, chain, beam):
        asked = options(vocabulary_size=9, beam_size=beam, max_length=12)
        return engine.submit("m", source(chain), asked)

    with Engine({"m": MarkovModel(tables)}) as alone:
        expected = [ask(alone, chain, beam).future.result(WAIT_S).hypotheses for chain, beam, _ in wanted]
    with Engine({"m": MarkovModel(tables)}, Limits(batch_rows=12), threads=threads) as engine:
        tickets = [ask(engine, chain, beam) for chain, beam, _ in wanted]
        for ticket, (_, _, cancelled) in zip(tickets, wanted, strict=True):
            if cancelled:
                ticket.cancel()
        for ticket, answer in zip(tickets, expected, strict=True):
            if not ticket.future.cancelled():
                assert ticket.future.result(WAIT_S).hypotheses == answer
        done = engine.counters
        until(lambda: engine.load("m").running_requests == engine.load("m").waiting_requests == 0)
        until(lambda: done.submitted == done.finished + done.cancelled)


def until(true):
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_fault_in_one_hands_batch_is_none_of_the_others():
    class Raising(Meeting):
        def step(self, inputs, memory, state, *, attention=False):
            if len(inputs.token) > 1:  # the beam of the wide one, after its first step
                raise RuntimeError("no such memory")
            return super().step(inputs, memory, state, attention=attention)

    model = Raising(MarkovModel([random_table(0, 9)]), 2)
    asked = {"vocabulary_size": 9, "max_length": 50, "min_length": 50}
    with Engine({"m": model}, threads=2) as engine:
        narrow = engine.submit("m", source(), options(**asked))
        wide = engine.submit("m", source(), options(beam_size=3, **asked))
        with pytest.raises(ModelFault):
            wide.future.result(WAIT_S)
        assert len(narrow.future.result(WAIT_S).hypotheses[0].tokens) == 50


def test_who_is_left_at_the_end_is_told_so_wherever_it_is():
    gate = GatedModel(MarkovModel([ENDLESS]))
    engine = Engine({"m": gate}, Limits(batch_rows=2), threads=2)
    engine.start()
    tickets = [engine.submit("m", source(), options(max_length=1000)) for _ in range(4)]
    for _ in range(2):
        gate.wait_until_stepping()
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    while stopping.is_alive():
        gate.let_step(2)
        stopping.join(0.01)
    for ticket in tickets:
        with pytest.raises(Draining):
            ticket.future.result(WAIT_S)
    assert not engine.running


def test_a_retired_model_goes_when_no_hand_has_a_request_of_it():
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}, threads=2) as engine:
        tickets = [engine.submit("m", source(), options(max_length=1)) for _ in range(2)]
        for _ in range(2):
            gate.wait_until_stepping()
        gone = engine.retire("m")
        assert not gone.done()
        gate.let_step(4)
        gone.result(WAIT_S)
        assert all(ticket.future.done() for ticket in tickets)


def test_what_waits_in_the_background_is_done_when_the_others_are():
    tables = [random_table(chain, 9) for chain in range(2)]
    asked = options(vocabulary_size=9, beam_size=3, max_length=12)
    with Engine({"m": MarkovModel(tables)}, threads=2) as engine:
        engine.add("behind", MarkovModel(tables), background=True)
        tickets = [engine.submit(key, source(i % 2), asked) for i in range(40) for key in ("m", "behind")]
        for ticket in tickets:
            ticket.future.result(WAIT_S)


def test_a_drain_answers_those_who_wait_for_either_hand():
    engine = Engine({"m": MarkovModel([ENDLESS])}, Limits(batch_rows=1), threads=2)
    engine.start()
    tickets = [engine.submit("m", source(), options(max_length=3)) for _ in range(20)]
    engine.stop(drain_s=WAIT_S)
    assert [len(ticket.future.result(0).hypotheses[0].tokens) for ticket in tickets] == [3] * 20
