"""Sweeps, searches and comparisons of the load generator, of figures that are made up."""

import random
from dataclasses import replace

import numpy as np
import pytest

from beamstep.bench.comparison import METRICS, compare
from beamstep.bench.environment import describe
from beamstep.bench.errors import BadInput
from beamstep.bench.loops import Answer, Outcome
from beamstep.bench.plan import Point, Protocol, Settings, labels, numbers, sweep, variants
from beamstep.bench.record import Recording, Run
from beamstep.bench.searching import Found, Goal, search
from beamstep.bench.tally import Frame, tally

FRAME = Frame(begin=0, seconds=10, windows=5)


def recording(name, scale=1.0, *, failing=0.0, rate=40, repeats=(1, 1, 1), point=None, sha256="a"):
    """Return runs whose latencies are lognormal around 20 ms times `scale` and the repeat's own factor."""
    drawn = random.Random(name)
    runs = []
    for repeat, factor in enumerate(repeats):
        outcomes = []
        for place in range(10 * rate):
            due, takes = place / rate, scale * factor * drawn.lognormvariate(np.log(0.02), 0.3)
            outcomes.append(Outcome(due, Answer(due, due + takes, "UNAVAILABLE" if drawn.random() < failing else "OK")))
        settings = {"workload": {"sha256": sha256}}
        runs.append(Run(point or Point(rate=40.0), repeat, settings, [], 10, tally(outcomes, FRAME)))
    return Recording(name, {}, runs)


def judged(before, after, bound=1.1):
    return {ratio.metric: ratio for ratio in compare(before, after, bound, METRICS)}


def test_a_slower_server_is_worse_and_a_faster_one_is_not():
    before = recording("a")
    slower, faster = judged(before, recording("b", 1.3)), judged(before, recording("c", 0.7))
    assert slower["p50"].ratio == pytest.approx(1.3, rel=0.1)
    assert slower["p50"].low < slower["p50"].ratio < slower["p50"].high
    assert [name for name, ratio in slower.items() if ratio.worse] == ["p50", "p95", "p99"]
    assert faster["p50"].ratio == pytest.approx(0.7, rel=0.1)
    assert not any(ratio.worse for ratio in faster.values())


def test_the_same_server_is_as_fast_as_itself():
    same = judged(recording("a"), recording("b"))
    assert same["p50"].low < 1 < same["p50"].high
    assert not any(ratio.worse for ratio in same.values())
    assert not judged(recording("a"), recording("b", 1.3), bound=1.5)["p50"].worse


def test_what_may_be_chance_is_no_regression():
    apart = (0.5, 0.8, 1, 1.3, 2)
    ratio = judged(recording("a", repeats=apart), recording("b", 1.25, repeats=apart))["p50"]
    assert ratio.ratio > 1.1
    assert ratio.low < 1 < ratio.high
    assert not ratio.worse


def test_a_lower_rate_is_worse():
    ratios = judged(recording("a", rate=40), recording("b", rate=30))
    assert ratios["rate"].ratio == pytest.approx(0.75, rel=0.02)
    assert ratios["rate"].worse
    assert not judged(recording("a", rate=40), recording("b", rate=50))["rate"].worse


def test_more_failures_are_worse():
    ratios = judged(recording("a"), recording("b", failing=0.05))
    assert ratios["failed"].worse
    assert ratios["failed"].after == pytest.approx(0.05, abs=0.03)
    assert not judged(recording("a", failing=0.05), recording("b"))["failed"].worse


def test_only_like_is_compared_with_like():
    with pytest.raises(BadInput, match="asked different workloads"):
        compare(recording("a"), recording("b", sha256="b"), 1.1, METRICS)
    with pytest.raises(BadInput, match=r"no load in common: a has 40/s; b has 8 clients"):
        compare(recording("a"), recording("b", point=Point(concurrency=8)), 1.1, METRICS)


def test_two_servers_are_compared_by_their_load():
    first, second = (recording(name, point=Point(rate=40.0, serve=f"--precision {name}")) for name in ("fp32", "int8"))
    ratios = compare(first, second, 1.1, ["p50"])
    assert {ratio.point for ratio in ratios} == {Point(rate=40.0)}


def test_a_sweep_has_every_load_with_every_beam():
    assert sweep([50, 100], [], [1, 5]) == [
        Point(rate=50, beam_size=1), Point(rate=100, beam_size=1), Point(rate=50, beam_size=5), Point(rate=100, beam_size=5),
    ]  # fmt: skip
    assert sweep([], [1, 2], []) == [Point(concurrency=1), Point(concurrency=2)]
    assert sweep([], [], [], recorded=True) == [Point()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sweep([], [], []), "--rate and --concurrency: none given; allowed: one of them, or --arrivals FILE"),
        (lambda: sweep([1], [1], []), "--rate and --concurrency: both given"),
        (lambda: sweep([0], [], []), "--rate: 0; allowed: above 0"),
        (lambda: sweep([], [1.5], []), "--concurrency: 1.5; allowed: whole numbers from 1"),
        (lambda: sweep([1], [], [0]), "--beam: 0; allowed: whole numbers from 1"),
        (lambda: numbers("rate", "5,x"), "--rate: '5,x'; allowed: numbers with commas between"),
        (lambda: Settings(duration_s=0), "--duration: 0; allowed: above 0 s"),
        (lambda: Settings(channels=0), "--channels: 0; allowed: from 1 to 128"),
        (lambda: Settings(stream=True, protocol=Protocol.KSERVE), "--stream: given with --protocol kserve"),
        (lambda: Settings(tensor="a"), "--tensor: 'a'; allowed: with --protocol kserve alone"),
        (lambda: Goal(99, 0, 1, 2, 1.1), "--p99-ms: 0; allowed: above 0"),
        (lambda: Goal(100, 1, 1, 2, 1.1), "--percentile: 100; allowed: above 0, below 100"),
        (lambda: Goal(99, 1, 4, 2, 1.1), "--limit: 2; allowed: from --start"),
        (lambda: Goal(99, 1, 1, 2, 1), "--resolution: 1; allowed: above 1"),
    ],
)
def test_what_cannot_be_measured_is_told_by_its_option(make, message):
    with pytest.raises(BadInput) as caught:
        make()
    assert message in str(caught.value)


def test_servers_are_all_choices_in_every_combination():
    assert list(variants(["--step-threads {1,2} --max-rows {8,64}", "--precision fp32"])) == [
        "--step-threads 1 --max-rows 8", "--step-threads 1 --max-rows 64",
        "--step-threads 2 --max-rows 8", "--step-threads 2 --max-rows 64",
        "--precision fp32",
    ]  # fmt: skip


def test_points_are_called_by_what_differs():
    one, two = (Point(rate=5, serve=f"--models m --step-threads {count}") for count in (1, 2))
    assert labels([one, two]) == {one: "5/s, --step-threads 1", two: "5/s, --step-threads 2"}
    assert labels([one, replace(one, rate=6)]) == {one: "5/s", replace(one, rate=6): "6/s"}
    assert str(Point(concurrency=1, beam_size=4)) == "1 client, beam 4"
    assert [str(Point(rate=rate)) for rate in (0.743254, 123.456, 20_000)] == ["0.7433/s", "123.5/s", "20000/s"]


def goal(start=10.0, limit=1000.0, resolution=1.05):
    return Goal(99, 100, start, limit, resolution)


@pytest.mark.parametrize("capacity", [0.5, 3.0, 10.0, 137.0, 999.0])
@pytest.mark.parametrize("start", [1.0, 10.0, 500.0])
def test_a_search_ends_at_the_capacity(capacity, start):
    tried = []

    def holds(rate):
        tried.append(rate)
        return rate <= capacity

    found = search(holds, goal(start))
    assert found.holds <= capacity < found.fails
    assert found.fails / found.holds <= 1.05
    assert len(tried) == len(set(tried)) <= 20


def test_a_search_stops_at_its_limit_and_at_a_server_that_bears_nothing():
    assert search(lambda _: True, goal(limit=35)) == Found(35, None)
    assert search(lambda _: False, goal()) == Found(None, 0.1)


def test_the_environment_tells_limits_where_there_are_some(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast One\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("150000 100000\n")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    told = describe(tmp_path)
    assert (told["processor"], told["cpu_limit"], told["memory_limit_bytes"]) == ("Fast One", 1.5, None)
    assert {"grpcio", "numpy", "hdrhistogram"} <= set(told["versions"])
