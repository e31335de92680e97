"""The engine with its thread: a gated model says how far it gets, so nothing here depends on speed."""

import asyncio
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from serving.caches.memory import MemoryCache
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.engine import Engine, Load
from serving.errors import Draining, Expired, InvalidRequest, ModelFault, Overloaded, UnknownModel
from serving.request import CacheHit
from serving.scheduler import Limits
from tests.fakes.faulty import GatedModel, RaisingModel
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, random_table, source

ENDLESS = first_order({1: {3: 1.0}, 3: {3: 1.0}}, 4)  # bos, then token 3 for ever
SHORT = first_order({1: {3: 1.0}, 3: {2: 1.0}}, 4)  # bos, 3, eos
WAIT_S = 30


def options(**changes):
    defaults = {"beam_size": 1, "max_length": 5, "vocabulary_size": 4, "special": SPECIAL}
    return DecodingOptions(**(defaults | changes))


class ManualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_answers_are_those_of_decoding_alone():
    model = MarkovModel([random_table(chain, 9) for chain in range(4)])
    wanted = [options(vocabulary_size=9, beam_size=1 + chain, length_penalty=0.3 * chain) for chain in range(4)]
    with Engine({"m": model}) as engine:
        tickets = [engine.submit("m", source(chain, 2 + chain), wanted[chain]) for chain in range(4)]
        answers = [ticket.future.result(WAIT_S) for ticket in tickets]
    for chain, answer in enumerate(answers):
        assert [answer.hypotheses] == decode(model, [source(chain, 2 + chain)], wanted[chain])
        assert min(answer.queue_s, answer.encode_s, answer.decode_s) >= 0
        assert 1 <= answer.step_count <= 6
    assert engine.counters.submitted == engine.counters.finished == 4


def test_a_request_joins_the_running_batch_and_a_short_one_leaves_it_first():
    gate = GatedModel(MarkovModel([ENDLESS, SHORT]))
    with Engine({"m": gate}) as engine:
        long = engine.submit("m", source(0), options())
        gate.wait_until_stepping()
        short = engine.submit("m", source(1), options())
        gate.let_step(3)
        answer = short.future.result(WAIT_S)
        assert answer.hypotheses[0].tokens == (3, SPECIAL.eos)
        assert answer.step_count == 2
        assert not long.future.done()
        gate.let_step(3)
        assert long.future.result(WAIT_S).step_count == 6
    assert gate.rows == [1, 2, 2, 1, 1, 1]


def test_a_cancelled_request_has_no_rows_in_the_next_step():
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}) as engine:
        stays = engine.submit("m", source(), options())
        leaves = engine.submit("m", source(), options())
        gate.wait_until_stepping()
        if gate.rows == [1]:  # the second came after the first step began
            gate.let_step()
            gate.wait_until_stepping()
        assert gate.rows[-1] == 2
        assert leaves.cancel()
        gate.let_step()
        gate.wait_until_stepping()
        assert gate.rows[-1] == 1
        gate.let_step(10)
        assert stays.future.result(WAIT_S).hypotheses[0].tokens == (3,) * 5
        with pytest.raises(CancelledError):
            leaves.future.result(WAIT_S)
    assert engine.counters.cancelled == 1


def test_cancelling_the_awaiting_task_withdraws_the_request():
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}) as engine:

        async def call_and_give_up() -> None:
            ticket = engine.submit("m", source(), options())
            task = asyncio.ensure_future(asyncio.wrap_future(ticket.future))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(call_and_give_up())
        gate.let_step(10)
        other = engine.submit("m", source(), options())
        other.future.result(WAIT_S)
        assert engine.counters.cancelled == 1
        assert engine.load("m").running_rows == 0


def test_an_expired_request_fails_waiting_or_running():
    clock = ManualClock()
    gate = GatedModel(MarkovModel([ENDLESS]))
    with Engine({"m": gate}, Limits(batch_rows=1), clock=clock) as engine:
        running = engine.submit("m", source(), options(), deadline=10.0)
        waiting = engine.submit("m", source(), options(), deadline=9.0)
        patient = engine.submit("m", source(), options(), deadline=11.0)
        gate.wait_until_stepping()
        clock.now = 10.0
        gate.let_step(20)
        for ticket in (running, waiting):
            with pytest.raises(Expired, match="deadline"):
                ticket.future.result(WAIT_S)
        assert patient.future.result(WAIT_S).queue_s == 10.0
    assert engine.counters.expired == 2
    assert sum(gate.rows) == 1 + 6, "the waiting one never had a row"


def test_a_full_queue_refuses_at_once():
    gate = GatedModel(MarkovModel([SHORT]))
    with Engine({"m": gate}, Limits(waiting_requests=2, batch_sources=1)) as engine:
        tickets = [engine.submit("m", source(), options())]
        gate.wait_until_stepping()
        tickets += [engine.submit("m", source(), options()) for _ in range(2)]
        with pytest.raises(Overloaded, match="2 requests are waiting"):
            engine.submit("m", source(), options())
        assert engine.counters.refused == 1
        assert engine.load("m").waiting_requests == 2
        gate.let_step(10)
        for ticket in tickets:
            ticket.future.result(WAIT_S)


def test_a_raising_step_fails_its_batch_and_the_engine_goes_on(caplog):
    with Engine({"m": RaisingModel(MarkovModel([SHORT]), steps=1)}) as engine:
        with pytest.raises(ModelFault, match="no such memory"):
            engine.submit("m", source(), options()).future.result(WAIT_S)
        assert engine.submit("m", source(), options()).future.result(WAIT_S).hypotheses[0].tokens == (3, SPECIAL.eos)
    assert "the engine goes on" in caplog.text
    assert (engine.counters.failed, engine.counters.finished) == (1, 1)


def test_a_raising_encoder_fails_the_newcomers_alone(caplog):
    class SecondEncodeFails(RaisingModel):
        def encode(self, inputs):
            if len(inputs) == 1 and int(inputs[0]["chain"]) == 1:
                raise RuntimeError("bad source")
            return super().encode(inputs)

    gate = GatedModel(SecondEncodeFails(MarkovModel([ENDLESS, SHORT])))
    with Engine({"m": gate}) as engine:
        running = engine.submit("m", source(0), options())
        gate.wait_until_stepping()
        newcomer = engine.submit("m", source(1), options())
        gate.let_step(10)
        with pytest.raises(ModelFault, match="bad source"):
            newcomer.future.result(WAIT_S)
        assert running.future.result(WAIT_S).step_count == 6


def test_log_probs_that_are_not_numbers_fail_only_their_request():
    broken = np.array(ENDLESS)
    broken[3, 3] = np.nan  # from the third step on
    gate = GatedModel(MarkovModel([ENDLESS, broken]))
    with Engine({"m": gate}) as engine:
        good, bad = (engine.submit("m", source(chain), options()) for chain in (0, 1))
        gate.let_step(20)
        with pytest.raises(ModelFault, match="not numbers at step 3"):
            bad.future.result(WAIT_S)
        assert good.future.result(WAIT_S).hypotheses[0].tokens == (3,) * 5


def test_models_take_turns():
    gates = {name: GatedModel(MarkovModel([ENDLESS])) for name in ("a", "b")}
    with Engine(gates) as engine:
        long = engine.submit("a", source(), options(max_length=1000))
        gates["a"].wait_until_stepping()
        other = engine.submit("b", source(), options())
        gates["b"].let_step(6)
        gates["a"].let_step(8)
        assert other.future.result(WAIT_S).step_count == 6
        assert not long.future.done()
        long.cancel()
        gates["a"].let_step()


def test_draining_finishes_what_is_there_and_refuses_the_rest():
    gate = GatedModel(MarkovModel([SHORT]))
    engine = Engine({"m": gate})
    with pytest.raises(Draining):
        engine.submit("m", source(), options())
    engine.start()
    ticket = engine.submit("m", source(), options())
    gate.wait_until_stepping()
    stopping = threading.Thread(target=engine.stop, args=(WAIT_S,))
    stopping.start()
    while True:
        try:
            engine.submit("m", source(), options()).cancel()
        except Draining:
            break
    gate.let_step(10)
    stopping.join(WAIT_S)
    assert ticket.future.result(0).hypotheses[0].tokens == (3, SPECIAL.eos)
    assert not engine.running


def test_what_is_not_done_in_time_fails_at_the_stop():
    gate = GatedModel(MarkovModel([ENDLESS]))
    engine = Engine({"m": gate}, Limits(batch_sources=1))
    engine.start()
    tickets = [engine.submit("m", source(), options(max_length=10_000)) for _ in range(2)]
    gate.wait_until_stepping()
    stopping = threading.Thread(target=engine.stop, args=(0.0,))
    stopping.start()
    while engine.running:
        gate.let_step()
    stopping.join(WAIT_S)
    for ticket in tickets:
        with pytest.raises(Draining, match="shut down"):
            ticket.future.result(0)
    assert engine.counters.failed == 2


def test_an_unknown_model_and_a_beam_wider_than_the_batch_are_named():
    with Engine({"m": MarkovModel([SHORT])}, Limits(batch_rows=4)) as engine:
        with pytest.raises(UnknownModel, match=r"'x' is not loaded; loaded: m"):
            engine.submit("x", source(), options())
        with pytest.raises(InvalidRequest, match="beam_size: 5"):
            engine.submit("m", source(), options(beam_size=5))


def test_an_idle_engine_sleeps():
    class CountingClock(ManualClock):
        calls = 0

        def __call__(self) -> float:
            self.calls += 1
            return super().__call__()

    clock = CountingClock()
    with Engine({"m": MarkovModel([SHORT])}, clock=clock) as engine:
        engine.submit("m", source(), options()).future.result(WAIT_S)
        calls = clock.calls
        threading.Event().wait(0.2)
        assert clock.calls <= calls + 1, "each turn reads the clock"
        assert engine.running


def test_every_request_ends_once_whatever_happens_to_it():
    """Four threads submit; some give up, some have no time, some get no numbers; the others get what they would get alone."""
    broken = random_table(7, 9)
    broken[3] = np.nan
    model = MarkovModel([random_table(chain, 9) for chain in range(3)] + [broken])
    wanted = options(vocabulary_size=9, beam_size=3, hypothesis_count=2, max_length=12, length_penalty=1.0)
    alone = [decode(model, [source(chain)], wanted)[0] for chain in range(3)]
    wrong: list[str] = []

    def call(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(60):
            chain = int(generator.integers(0, 4))
            deadline = time.monotonic() - 1.0 if generator.random() < 0.1 else None
            ticket = engine.submit("m", source(chain), wanted, deadline=deadline)
            if generator.random() < 0.2:
                ticket.cancel()
            try:
                if ticket.future.result(WAIT_S).hypotheses != alone[chain]:
                    wrong.append(f"chain {chain}")
            except ModelFault:
                if chain != 3:
                    wrong.append(f"chain {chain} failed")
            except (CancelledError, Expired):
                pass

    engine = Engine({"m": model}, Limits(batch_rows=16, encode_sources=2))
    with engine:
        callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert wrong == []
    counters = engine.counters
    assert counters.submitted == 240
    assert counters.finished + counters.cancelled + counters.expired + counters.failed == 240
    assert min(counters.finished, counters.cancelled, counters.expired, counters.failed) > 0
    assert engine.load("m") == Load(0, 0, 0)


# ---- a cache of encoder memory


def test_a_source_that_was_encoded_before_is_not_encoded_again_and_its_answer_is_the_same():
    model = MarkovModel([random_table(chain, 9) for chain in range(3)])
    cache = MemoryCache(10**6)
    wanted = [options(vocabulary_size=9, beam_size=1 + number, length_penalty=0.2 * number) for number in range(3)]
    for number in range(3):
        plain = decode(model, [source(number, 3)], wanted[number])
        model.encoded.clear()
        with Engine({"m": model}, memory_cache=cache) as engine:
            first, again = (engine.submit("m", source(number, 3), wanted[number]).future.result(WAIT_S) for _ in "ab")
            other = engine.submit("m", source(number, 4), wanted[number]).future.result(WAIT_S)
        assert [first.hypotheses] == [again.hypotheses] == plain
        assert [answer.cache_hit for answer in (first, again, other)] == [CacheHit.NONE, CacheHit.MEMORY, CacheHit.NONE]
        assert again.encode_s == 0
        assert model.encoded == [1, 1]
        assert engine.counters.encoder_runs == 2
    stats = cache.snapshot()
    assert (stats.hits, stats.misses, stats.entries) == (3, 6, 6)


def test_sources_from_the_cache_and_new_ones_join_one_batch():
    model = MarkovModel([random_table(chain, 9) for chain in range(4)])
    wanted = options(vocabulary_size=9, beam_size=3, max_length=12)
    gate = GatedModel(model)
    with Engine({"m": gate}, memory_cache=MemoryCache(10**6)) as engine:
        gate.let_step(100)
        for chain in (1, 2):
            engine.submit("m", source(chain, 2 + chain), wanted).future.result(WAIT_S)
        while gate._allowed.acquire(blocking=False):
            pass
        holds = engine.submit("m", source(0), wanted)
        gate.wait_until_stepping()
        tickets = [engine.submit("m", source(chain, 2 + chain), wanted) for chain in (3, 1, 2)]
        gate.let_step(200)
        answers = [ticket.future.result(WAIT_S) for ticket in tickets]
        holds.future.result(WAIT_S)
    for chain, answer in zip((3, 1, 2), answers, strict=True):
        assert [answer.hypotheses] == decode(model, [source(chain, 2 + chain)], wanted)
    assert [answer.cache_hit for answer in answers] == [CacheHit.NONE, CacheHit.MEMORY, CacheHit.MEMORY]


def test_a_bounded_cache_of_memory_never_holds_more_than_it_may():
    model = MarkovModel([random_table(0, 9)])
    cache = MemoryCache(3000)
    with Engine({"m": model}, memory_cache=cache) as engine:
        for length in range(1, 30):
            engine.submit("m", source(0, length), options(vocabulary_size=9)).future.result(WAIT_S)
            assert cache.snapshot().held_bytes <= 3000
    assert cache.snapshot().evictions > 20


# ---- a full queue and who shares it


def test_a_light_client_takes_the_place_of_the_heaviest_clients_newest():
    gate = GatedModel(MarkovModel([SHORT]))
    with Engine({"m": gate}, Limits(waiting_requests=3, batch_sources=1)) as engine:
        running = engine.submit("m", source(), options(), client="heavy")
        gate.wait_until_stepping()
        heavy = [engine.submit("m", source(), options(), client="heavy") for _ in range(3)]
        with pytest.raises(Overloaded, match="3 requests are waiting"):
            engine.check_room("m", "heavy")
        engine.check_room("m", "light")
        light = engine.submit("m", source(), options(), client="light")
        with pytest.raises(Overloaded, match="others have fewer") as caught:
            heavy[2].future.result(0)  # at once
        assert caught.value.retry_after_s is not None
        assert engine.load("m").waiting_requests == 3
        gate.let_step(20)
        for ticket in (running, *heavy[:2], light):
            ticket.future.result(WAIT_S)
    counters = engine.counters
    assert (counters.submitted, counters.finished, counters.displaced, counters.refused) == (5, 4, 1, 1)
    assert counters.failed == counters.cancelled == 0


def test_a_turn_that_fails_leaves_the_displaced_what_they_were_told(caplog):
    gate = GatedModel(RaisingModel(MarkovModel([SHORT]), steps=1))
    with Engine({"m": gate}, Limits(waiting_requests=2, batch_sources=1)) as engine:
        running = engine.submit("m", source(), options(), client="heavy")
        gate.wait_until_stepping()
        heavy = [engine.submit("m", source(), options(), client="heavy") for _ in range(2)]
        light = engine.submit("m", source(), options(), client="light")
        gate.let_step(20)
        with pytest.raises(ModelFault):
            running.future.result(WAIT_S)
        with pytest.raises(Overloaded):
            heavy[1].future.result(WAIT_S)
        assert heavy[0].future.result(WAIT_S).hypotheses
        assert light.future.result(WAIT_S).hypotheses
    assert (engine.counters.failed, engine.counters.displaced, engine.counters.finished) == (1, 1, 2)


def test_limits_by_model_and_for_all_others():
    gate = GatedModel(MarkovModel([SHORT]))
    limits = {"": Limits(batch_rows=3), "a": Limits(batch_rows=2)}
    with Engine({"a": gate, "b": gate}, limits) as engine:
        for key, allowed in (("a", 2), ("b", 3)):
            with pytest.raises(InvalidRequest, match=f"1 to {allowed}"):
                engine.submit(key, source(), options(beam_size=4))
