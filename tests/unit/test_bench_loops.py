"""The load generator's loops against fake servers, in time that passes by itself alone."""

import asyncio
import itertools

import numpy as np
import pytest

from beamstep.bench import arrivals
from beamstep.bench.errors import BadInput
from beamstep.bench.loops import Answer, closed_loop, open_loop, watch_lag
from beamstep.bench.measure import schedule
from beamstep.bench.plan import Settings
from beamstep.bench.tally import Frame, tally
from tests.fakes.virtual_time import run_virtually


class FakeServer:
    """Answers after `takes_s`, but nothing between two moments of the run.

    Attributes:
        running: calls under way.
        most: as many as ever were.
        asked: what was asked, in order.
    """

    def __init__(self, takes_s=0.01, stall=(0.0, 0.0), code="OK") -> None:
        self._begin = asyncio.get_running_loop().time()
        self._takes_s = takes_s
        self._stall = stall
        self._code = code
        self.running = self.most = 0
        self.asked = []

    async def __call__(self, place):
        now = asyncio.get_running_loop().time
        sent = now()
        self.asked.append(place)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self._takes_s)
        first, last = self._stall
        if first <= now() - self._begin < last:
            await asyncio.sleep(self._begin + last - now())
        self.running -= 1
        return Answer(sent, now(), self._code)


def latencies(loop_kind, stall):
    """Run ten seconds, at 100 a second or with one client, and return the tally."""

    async def run():
        begin = asyncio.get_running_loop().time()
        server, picks = FakeServer(stall=stall), itertools.repeat(0)
        if loop_kind == "open":
            outcomes = await open_loop(server, begin + arrivals.constant(100, 10), picks)
        else:
            outcomes = await closed_loop(server, 1, begin, begin + 10, picks)
        return tally(outcomes, Frame(begin, 10, 10))

    return run_virtually(run())


def test_a_stall_of_a_second_stands_in_the_tail_of_an_open_loop():
    calm, stalled = latencies("open", (0, 0)), latencies("open", (5, 6))
    assert calm.part("latency").percentile_ms(99) == pytest.approx(10, rel=0.01)
    # a tenth of all requests were due while nothing was answered, each waiting for what was left of the second
    assert stalled.part("latency").percentile_ms(99) == pytest.approx(910, rel=0.02)
    assert stalled.part("latency").max_ms == pytest.approx(1000, rel=0.02)
    assert stalled.part("latency").percentile_ms(50) == pytest.approx(10, rel=0.01)
    assert stalled.due == calm.due == 1000


def test_a_closed_loop_does_not_see_the_same_stall_which_is_why_there_is_an_open_one():
    stalled = latencies("closed", (5, 6))
    assert stalled.part("latency").max_ms == pytest.approx(1000, rel=0.02)
    assert stalled.part("latency").percentile_ms(99) == pytest.approx(10, rel=0.01)
    assert stalled.due < 1000


def test_what_the_generator_itself_loses_counts_as_latency_and_is_said():
    async def run():
        loop = asyncio.get_running_loop()
        begin, server = loop.time(), FakeServer()

        async def call(place):
            if len(server.asked) == 500:
                loop.pass_time(1)  # as if something had blocked the process
            return await server(place)

        watching = asyncio.create_task(watch_lag(over := asyncio.Event()))
        outcomes = await open_loop(call, begin + arrivals.constant(100, 10), itertools.repeat(0))
        over.set()
        return tally(outcomes, Frame(begin, 10, 1), await watching)

    found = run_virtually(run())
    assert found.part("lateness").percentile_ms(99) == pytest.approx(900, rel=0.05)
    assert found.part("latency").percentile_ms(99) > found.part("lateness").percentile_ms(99)
    assert found.part("service").percentile_ms(99) == pytest.approx(10, rel=0.01)
    assert found.part("lag").max_ms > 900


def test_an_open_loop_sends_when_due_and_not_when_answered():
    async def run():
        loop = asyncio.get_running_loop()
        server = FakeServer(takes_s=5.0)
        due = [loop.time() + at for at in (0.5, 0.5, 2.0)]
        outcomes = await open_loop(server, due, iter([3, 1, 2]))
        return server, due, outcomes

    server, due, outcomes = run_virtually(run())
    assert [outcome.due for outcome in outcomes] == due
    assert [outcome.answer.sent for outcome in outcomes] == pytest.approx(due)
    assert server.asked == [3, 1, 2]
    assert server.most == 3


def test_a_closed_loop_keeps_as_many_requests_running_as_it_has_clients():
    async def run():
        loop = asyncio.get_running_loop()
        server = FakeServer(takes_s=0.1)
        outcomes = await closed_loop(server, 7, loop.time() + 1, loop.time() + 3, itertools.count())
        return server, loop.time(), outcomes

    server, ended, outcomes = run_virtually(run())
    assert server.most == 7
    assert server.running == 0
    assert len(outcomes) == pytest.approx(7 * 20, abs=7)
    assert sorted(server.asked) == list(range(len(outcomes)))
    assert ended == pytest.approx(1003, abs=0.11)  # the last ones were waited for


def test_refusals_at_once_do_not_make_a_closed_loop_spin():
    async def run():
        loop = asyncio.get_running_loop()
        server = FakeServer(takes_s=0, code="RESOURCE_EXHAUSTED")
        return await closed_loop(server, 2, loop.time(), loop.time() + 1, itertools.count())

    assert len(run_virtually(run())) == pytest.approx(2000, rel=0.01)


def test_poisson_arrivals_are_as_many_as_asked_for_and_forget_each_other():
    times = arrivals.poisson(200, 100, seed=3)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(20_000, rel=0.05)
    assert (gaps >= 0).all()
    assert times[-1] < 100
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.05)  # of an exponential distribution
    assert (arrivals.poisson(200, 100, seed=3) == times).all()
    assert len(arrivals.poisson(200, 100, seed=4)) != len(times)


def test_a_recording_is_replayed_as_it_was_or_at_another_rate(tmp_path):
    (tmp_path / "arrivals").write_text("# seconds\n100.0\n100.5\n\n100.5\n104.0\n")
    recorded = arrivals.read_arrivals(tmp_path / "arrivals")
    assert arrivals.replay(recorded, None, 10).tolist() == [0, 0.5, 0.5, 4]
    assert arrivals.replay(recorded, None, 4).tolist() == [0, 0.5, 0.5]
    assert arrivals.replay(recorded, 1.5, 10).tolist() == [0, 0.25, 0.25, 2]  # three gaps in two seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\ntwo\n", "line 2: 'two'; allowed: a time in seconds"),
        ("1\nnan\n", "line 2: 'nan'; allowed: a time in seconds"),
        ("1\n3\n2\n", "line 3: 2; allowed: no earlier than the line before, 3"),
        ("1\n", "1 arrivals; allowed: at least 2"),
    ],
)
def test_a_recording_that_is_none_is_told_by_its_line(tmp_path, text, message):
    (tmp_path / "arrivals").write_text(text)
    with pytest.raises(BadInput, match="arrivals") as caught:
        arrivals.read_arrivals(tmp_path / "arrivals")
    assert message in str(caught.value)


def test_a_schedule_holds_the_warm_up_and_ends_with_the_recording():
    settings = Settings(arrivals="constant", warm_up_s=1, duration_s=4)
    due, seconds = schedule(settings, 10, None, seed=0)
    assert (len(due), due[0], seconds) == (50, 0, 4)
    due, seconds = schedule(settings, None, np.array([5.0, 6.0, 7.5]), seed=0)
    assert (due.tolist(), seconds) == ([0, 1, 2.5], 1.5)
    with pytest.raises(BadInput, match="--warm-up: 1 s; allowed: less than the recording's 1 s"):
        schedule(settings, None, np.array([5.0, 6.0]), seed=0)
    with pytest.raises(BadInput, match="allowed: enough for one request"):
        schedule(settings, 0.1, None, seed=0)
