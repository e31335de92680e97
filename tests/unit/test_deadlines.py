"""Deadlines on a clock that only the model's work moves: who is refused, who gets the best so far, who expires."""

from concurrent.futures import wait

import pytest

from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions
from serving.engine import Engine
from serving.errors import Draining, Expired, InvalidRequest, Overloaded
from serving.hand import ANSWER_S
from serving.pace import STALE_S, USUAL_RETRY_S
from serving.scheduler import Limits
from tests.fakes.faulty import GatedModel, RaisingModel
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, source
from tests.fakes.timed import ManualClock, TimedModel

ENDLESS = first_order({1: {3: 1.0}, 3: {3: 1.0}}, 4)  # bos, then token 3 for ever
SHORT = first_order({1: {3: 1.0}, 3: {2: 1.0}}, 4)  # bos, 3, eos: two steps
ENCODE_S, STEP_S = 0.1, 0.05
WAIT_S = 30
LENGTH = 3


def options(max_length=5, **changes):
    return DecodingOptions(
        **({"beam_size": 1, "vocabulary_size": 4, "special": SPECIAL} | changes), max_length=max_length
    )


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def model(clock):
    return TimedModel(MarkovModel([ENDLESS, SHORT]), clock, encode_s=ENCODE_S, step_s=STEP_S)


@pytest.fixture
def engine(model, clock):
    with Engine({"m": model}, clock=clock) as engine:
        yield engine


def ask(engine, chain, wanted=None, **keywords):
    return engine.submit("m", source(chain, LENGTH), wanted or options(), source_length=LENGTH, **keywords)


def measure(engine):
    """Let the engine learn how long an encoder run and a step take."""
    ask(engine, 1).future.result(WAIT_S)


def test_a_hopeless_deadline_is_refused_at_once(engine, model, clock):
    """The quickest answer of late took an encoder run and two steps for a source as long: 0.2 s."""
    measure(engine)
    steps, now = model.steps, clock.now
    with pytest.raises(Expired, match=r"the deadline is in 190.0 ms, and the quickest answer takes 200.0 ms here"):
        ask(engine, 1, deadline=now + 0.19)
    assert (model.steps, clock.now) == (steps, now), "no work was done for it"
    assert engine.counters.hopeless == 1
    assert engine.counters.submitted == engine.counters.finished == 1


def test_a_deadline_that_can_just_be_met_is(engine, clock):
    measure(engine)
    decoded = ask(engine, 1, deadline=clock.now + 0.21).future.result(WAIT_S)
    assert decoded.hypotheses[0].finish_reason is FinishReason.END_OF_SEQUENCE
    assert not decoded.deadline_reached
    assert engine.counters.hopeless == 0


def test_nothing_is_hopeless_before_anything_was_measured(engine, clock):
    with pytest.raises(Expired, match="passed before the answer was ready"):
        ask(engine, 0, deadline=clock.now + 0.01).future.result(WAIT_S)
    assert (engine.counters.hopeless, engine.counters.expired) == (0, 1)


def test_an_answer_that_must_be_long_needs_more_time(engine, clock):
    measure(engine)
    long = options(20, min_length=10)
    with pytest.raises(Expired, match=r"650\.0 ms"):  # 0.1 + 11 * 0.05
        ask(engine, 1, long, deadline=clock.now + 0.6)
    with pytest.raises(Expired, match=r"450\.0 ms"):
        ask(engine, 1, options(20, prefix=(3,) * 6), deadline=clock.now + 0.4)


def test_a_deadline_that_has_passed_already_expires_by_itself(engine, clock):
    measure(engine)
    with pytest.raises(Expired, match="passed before the answer was ready"):
        ask(engine, 1, deadline=clock.now - 1.0).future.result(WAIT_S)
    assert (engine.counters.hopeless, engine.counters.expired) == (0, 1)


def test_who_takes_the_best_so_far_is_refused_only_where_not_even_a_step_fits(engine, clock):
    measure(engine)
    with pytest.raises(Expired, match=r"150\.0 ms"):
        ask(engine, 1, deadline=clock.now + 0.14, return_best=True)
    decoded = ask(engine, 0, deadline=clock.now + 0.18, return_best=True).future.result(WAIT_S)
    assert decoded.deadline_reached
    assert decoded.step_count == 1


def test_the_best_so_far_comes_shortly_before_the_deadline(engine, clock):
    measure(engine)
    began = clock.now
    decoded = ask(engine, 0, options(1000), deadline=began + 2.0, return_best=True).future.result(WAIT_S)
    assert decoded.deadline_reached
    (best,) = decoded.hypotheses
    assert best.finish_reason is FinishReason.DEADLINE
    assert best.tokens == (3,) * decoded.step_count
    took = decoded.queue_s + decoded.encode_s + decoded.decode_s
    lead = ANSWER_S + 1.5 * STEP_S
    assert 2.0 - lead - STEP_S <= took <= 2.0 - ANSWER_S
    assert (engine.counters.finished, engine.counters.returned_early, engine.counters.expired) == (2, 1, 0)
    assert engine.load("m").running_rows == 0


@pytest.mark.parametrize("after", [0.18, 0.19, 0.2, 0.22, 0.24])
def test_the_very_first_request_gets_its_best_so_far_in_time_too(engine, clock, after):
    """One step is over after 0.15 s, and a second one would be after 0.2."""
    decoded = ask(engine, 0, options(1000), deadline=after, return_best=True).future.result(WAIT_S)
    assert decoded.deadline_reached
    assert clock.now < after


def test_without_being_asked_for_the_best_so_far_is_not_given(engine, clock):
    measure(engine)
    with pytest.raises(Expired, match="passed before the answer was ready"):
        ask(engine, 0, options(1000), deadline=clock.now + 2.0).future.result(WAIT_S)
    assert (engine.counters.expired, engine.counters.returned_early) == (1, 0)
    assert engine.counters.evicted_rows == 1


def test_an_answer_that_is_ready_before_the_deadline_is_no_early_one(engine, clock):
    measure(engine)
    decoded = ask(engine, 1, deadline=clock.now + 2.0, return_best=True).future.result(WAIT_S)
    assert not decoded.deadline_reached
    assert engine.counters.returned_early == 0


def test_who_still_waits_when_its_deadline_comes_fails_even_if_it_would_take_the_best(model, clock):
    gate = GatedModel(model)
    with Engine({"m": gate}, Limits(batch_sources=1), clock=clock) as engine:
        long = ask(engine, 0, options(100))
        gate.wait_until_stepping()
        waiting = ask(engine, 0, options(100), deadline=clock.now + 1.0, return_best=True)
        gate.let_step(1000)
        with pytest.raises(Expired):
            waiting.future.result(WAIT_S)
        assert long.future.result(WAIT_S).step_count == 101
    assert (engine.counters.finished, engine.counters.expired) == (1, 1)


def test_several_with_the_same_deadline_all_get_their_best_in_time(model, clock):
    gate = GatedModel(model)
    with Engine({"m": gate}, clock=clock) as engine:
        tickets = [ask(engine, 0, options(1000), deadline=3.0, return_best=True)]
        gate.wait_until_stepping()
        tickets += [ask(engine, 0, options(1000), deadline=3.0, return_best=True) for _ in range(19)]
        gate.let_step(1000)
        for ticket in tickets:
            assert ticket.future.result(WAIT_S).deadline_reached
        assert 2.0 < clock.now <= 3.0 - ANSWER_S
    assert engine.counters.returned_early == 20


def test_a_rest_between_a_failed_turn_and_the_next_request_is_no_slow_turn(clock, caplog):
    """Were it one, the lead before a deadline would be as long, and the best so far would be answered much too early."""
    failing = RaisingModel(MarkovModel([ENDLESS, SHORT]), steps=1)
    with Engine({"m": TimedModel(failing, clock, encode_s=ENCODE_S, step_s=STEP_S)}, clock=clock) as engine:
        assert ask(engine, 1).future.exception(WAIT_S) is not None
        clock.now += 3600
        measure(engine)
        decoded = ask(engine, 0, options(1000), deadline=clock.now + 2.0, return_best=True).future.result(WAIT_S)
    assert decoded.step_count > 30
    assert "the engine goes on" in caplog.text


def test_a_refusal_says_when_to_come_again(clock):
    gate = GatedModel(MarkovModel([ENDLESS, SHORT]))
    with Engine({"m": gate}, Limits(waiting_requests=2, batch_sources=1), clock=clock) as engine:

        def refused() -> float | None:
            with pytest.raises(Overloaded) as caught:
                ask(engine, 1)
            return caught.value.retry_after_s

        tickets = [ask(engine, 1)]
        gate.wait_until_stepping()
        tickets += [ask(engine, 1) for _ in range(2)]
        assert refused() == USUAL_RETRY_S, "nothing was answered yet"
        for _ in range(2):  # two answers, four seconds apart
            gate.let_step()
            gate.wait_until_stepping()
            clock.now += 4.0
            gate.let_step()
            gate.wait_until_stepping()
        tickets.append(ask(engine, 1))
        tickets.append(ask(engine, 1))
        assert refused() == pytest.approx(4.0 * 2 / 2)
        assert engine.counters.refused == 2
        gate.let_step(100)
        for ticket in tickets:
            ticket.future.result(WAIT_S)
    assert engine.counters.submitted == engine.counters.finished == 5


def test_callers_are_not_refused_for_ever_by_one_slow_turn(engine, model, clock):
    """All of them have a deadline that the machine as it was then could not meet, and nothing else is ever asked for."""
    model.step_s = 10.0
    measure(engine)
    model.step_s = STEP_S
    with pytest.raises(Expired, match="the quickest answer takes"):
        ask(engine, 1, deadline=clock.now + 1.0)
    clock.now += STALE_S + 1.0
    assert ask(engine, 1, deadline=clock.now + 1.0).future.result(WAIT_S).step_count == 2
    assert ask(engine, 1, deadline=clock.now + 1.0).future.result(WAIT_S).step_count == 2
    assert engine.counters.hopeless == 1


def test_every_request_ends_in_exactly_one_counter(model, clock):
    """Answered whole or early, cancelled, expired, failed at the end; and one was never let in."""
    gate = GatedModel(model)
    engine = Engine({"m": gate}, clock=clock)
    engine.start()
    gate.let_step(2)
    measure(engine)
    gate.wait_until_stepping()
    gate.wait_until_stepping()
    with pytest.raises(Expired):
        ask(engine, 1, deadline=clock.now + 0.01)
    tickets = [ask(engine, 1)]
    gate.wait_until_stepping()  # everybody comes while the clock stands still
    tickets += [ask(engine, 1) for _ in range(2)]
    deadline = clock.now + 3.0
    tickets += [
        ask(engine, 0, options(200), deadline=deadline, return_best=best) for best in (True, True, False, False)
    ]
    cancelled = [ask(engine, 0, options(10_000)) for _ in range(2)]
    left = [ask(engine, 0, options(10_000_000)) for _ in range(2)]
    for ticket in cancelled:
        assert ticket.cancel()
    gate.let_step(1000)
    wait([ticket.future for ticket in tickets], WAIT_S)
    gate.let_step(1_000_000)
    engine.stop()
    assert all(isinstance(ticket.future.exception(WAIT_S), Draining) for ticket in left)
    counters = engine.counters
    assert counters.submitted == 1 + 3 + 4 + 2 + 2
    assert (counters.finished, counters.returned_early) == (1 + 3 + 2, 2)
    assert (counters.cancelled, counters.expired, counters.failed) == (2, 2, 2)
    assert (counters.hopeless, counters.refused) == (1, 0)


def test_a_beam_too_wide_for_the_batch_is_no_sign_of_a_full_queue(model, clock):
    with Engine({"m": model}, Limits(batch_rows=4), clock=clock) as engine:
        with pytest.raises(InvalidRequest):
            ask(engine, 1, options(beam_size=5))
        assert (engine.counters.refused, engine.counters.submitted) == (0, 0)
