"""What is counted of a run, merged with that of other processes, judged, written and read again."""

import json
import math
import pickle
import random

import pytest

from beamstep.bench.errors import BadInput
from beamstep.bench.histogram import Histogram
from beamstep.bench.judging import bears, notes, tail_ms
from beamstep.bench.loops import Answer, Outcome
from beamstep.bench.plan import Point
from beamstep.bench.record import Run, read_recording, write_line
from beamstep.bench.tally import Frame, tally

FRAME = Frame(begin=10, seconds=4, windows=4, objective_s=0.5)


def outcome(due, takes, code="OK", late=0.0, **answer):
    return Outcome(due, Answer(due + late, due + takes, code, **answer))


def run_of(outcomes, point=None, frame=FRAME, repeat=0, lags=()):
    return Run(
        point or Point(rate=1.0), repeat, {"workload": {"sha256": "a"}}, [], frame.seconds, tally(outcomes, frame, lags)
    )


def histogram(*milliseconds):
    found = Histogram()
    for value in milliseconds:
        found.record(value / 1e3)
    return found


def test_percentiles_are_within_a_thousandth_of_the_values():
    drawn = random.Random(2)
    values = sorted(drawn.lognormvariate(3, 1) for _ in range(5000))
    found = histogram(*values)
    for percentile in (1, 50, 90, 99, 99.9):
        assert found.percentile_ms(percentile) == pytest.approx(values[round(percentile / 100 * 5000) - 1], rel=2e-3)
    assert found.mean_ms == pytest.approx(sum(values) / 5000, rel=1e-3)
    assert found.max_ms == pytest.approx(values[-1], rel=1e-3)


def test_histograms_of_two_processes_are_as_one_of_all():
    drawn = random.Random(5)
    values = [drawn.expovariate(0.1) for _ in range(900)]
    together, first, second = histogram(*values), histogram(*values[:300]), histogram(*values[300:])
    first.add(pickle.loads(pickle.dumps(second)))
    assert first.counts() == together.counts()
    assert first.summary() == together.summary()
    assert Histogram.decode(first.encode()).counts() == together.counts()


def test_an_empty_histogram_has_no_figures_and_adds_nothing():
    empty = Histogram()
    assert empty.summary() == {"count": 0}
    assert math.isnan(empty.percentile_ms(50))
    assert Histogram.decode(empty.encode()).count == 0
    found = histogram(3)
    found.add(empty)
    assert found.count == 1


def test_what_is_no_histogram_is_not_read_as_one():
    with pytest.raises(ValueError, match="no HDR histogram"):
        Histogram.decode("HISTF")


def test_a_failed_call_is_longer_than_any_answer():
    found = histogram(*range(1, 91))
    assert found.percentile_ms(90, failures=10) == pytest.approx(90, rel=1e-3)
    assert found.percentile_ms(91, failures=10) == math.inf
    assert Histogram().percentile_ms(50, failures=1) == math.inf


def test_latency_counts_what_was_due_within_the_frame_from_when_it_was_due():
    found = tally(
        [
            outcome(9.9, 5.0),  # due in the warm-up, answered behind the frame
            outcome(9.9, 0.3),  # due in the warm-up, answered in the first window
            outcome(10.0, 0.4, late=0.1),
            outcome(12.5, 0.6),  # due in the third window, answered in the fourth
            outcome(13.9, 2.0),  # due within, answered behind: its latency counts all the same
            outcome(14.0, 0.1),  # due behind
        ],
        FRAME,
    )
    assert (found.due, found.answered, found.good) == (3, 3, 1)
    assert [(window.due, window.answered, window.latency.count) for window in found.windows] == [
        (1, 2, 1), (0, 0, 0), (1, 0, 1), (1, 1, 1),
    ]  # fmt: skip
    assert list(found.part("latency").counts()) == pytest.approx([400_000, 600_000, 2_000_000], rel=1e-3)
    assert min(found.part("service").counts()) == pytest.approx(300_000, rel=1e-3)
    assert found.part("lateness").max_ms == pytest.approx(100, rel=1e-3)


def test_failures_are_counted_by_their_status_and_are_no_latencies():
    found = tally(
        [outcome(10, 0.001, "RESOURCE_EXHAUSTED"), outcome(11, 3, "DEADLINE_EXCEEDED"), outcome(12, 0.1)], FRAME
    )
    assert dict(found.errors) == {"RESOURCE_EXHAUSTED": 1, "DEADLINE_EXCEEDED": 1}
    assert (found.due, found.failed, found.answered, found.part("latency").count) == (3, 2, 1, 1)


def test_transport_is_what_the_server_does_not_call_its_own():
    told = (("queue", 0.01), ("decode", 0.05), ("server", 0.07))
    found = tally([outcome(10, 0.1, late=0.02, server_s=told)], FRAME)
    assert found.part("transport").max_ms == pytest.approx(100 - 20 - 70, rel=1e-2)
    assert found.part("queue").max_ms == pytest.approx(10, rel=1e-2)
    assert found.part("server").max_ms == pytest.approx(70, rel=1e-2)


def test_a_stream_has_its_first_message_and_what_lies_between():
    found = tally([outcome(10, 0.5, messages=(10.2, 10.25, 10.4), committed=10.25, tokens=5)], FRAME)
    assert found.part("first").max_ms == pytest.approx(200, rel=1e-3)
    assert found.part("committed").max_ms == pytest.approx(250, rel=1e-3)
    assert list(found.part("between").counts()) == pytest.approx([50_000, 150_000], rel=1e-3)
    assert found.part("per_token").max_ms == pytest.approx(50, rel=1e-3)


def test_tallies_of_processes_add_up():
    outcomes = [
        outcome(10 + place / 100, 0.1 + place / 1000, "OK" if place % 7 else "UNAVAILABLE") for place in range(390)
    ]
    together, first, second = tally(outcomes, FRAME), tally(outcomes[::2], FRAME), tally(outcomes[1::2], FRAME)
    first.add(second)
    assert (first.due, first.answered, first.good, first.errors) == (
        390,
        together.answered,
        together.good,
        together.errors,
    )
    assert first.part("latency").counts() == together.part("latency").counts()
    assert [window.answered for window in first.windows] == [window.answered for window in together.windows]


def test_a_run_is_the_same_after_it_was_written_and_read(tmp_path):
    outcomes = [outcome(10 + place / 10, 0.2, server_s=(("server", 0.1),)) for place in range(39)]
    run = run_of(
        [*outcomes, outcome(11, 1, "INTERNAL")], Point(concurrency=3, beam_size=2, serve="--max-rows 8"), repeat=1
    )
    with (tmp_path / "a.json").open("w") as file:
        write_line(file, {"kind": "environment", "cores": 2})
        write_line(file, run.as_json())
    recording = read_recording(tmp_path / "a.json")
    assert recording.environment["cores"] == 2
    assert [read.as_json() for read in recording.runs] == [run.as_json()]
    line = json.loads((tmp_path / "a.json").read_text().splitlines()[1])
    assert line["milliseconds"]["latency"]["p50"] == pytest.approx(200, rel=1e-3)
    assert (line["errors"], line["due"], line["offered_per_s"]) == ({"INTERNAL": 1}, 40, 10)


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "run"}', "[]", "nonsense", '{"kind": "environment"}'])
def test_a_file_that_is_no_recording_is_told_so(tmp_path, text):
    (tmp_path / "a.json").write_text(text + "\n")
    with pytest.raises(BadInput, match=r"allowed: (lines as|a file of) beamstep bench run"):
        read_recording(tmp_path / "a.json")


def test_a_steady_run_needs_no_word():
    assert notes([run_of([outcome(10 + place / 50, 0.02) for place in range(200)])]) == []


def test_a_generator_that_was_late_says_so():
    late = run_of([outcome(10 + place / 50, 0.06, late=0.04) for place in range(200)])
    assert any("late" in note and "40" in note for note in notes([late]))
    lagging = run_of([outcome(10 + place / 50, 0.02) for place in range(200)], lags=[0.03] * 50)
    assert any("up to 30" in note for note in notes([lagging]))


def test_a_generator_that_used_a_whole_core_says_so():
    run = run_of([outcome(10 + place / 50, 0.02) for place in range(200)])
    run.tally.processor_s, run.tally.elapsed_s = 4.5, 5.0
    assert notes([run]) == ["each generator process used up to 90% of a core: give it more --processes"]


def test_a_backlog_that_grows_is_said():
    found = notes([run_of([outcome(10 + place / 50, 0.02 * (1 + place)) for place in range(200)])])
    assert any(note.startswith("not steady: in 1 of 1 runs") for note in found)
    assert any("did not keep up" in note for note in found)


def test_a_load_is_borne_where_the_median_of_its_tails_is_within_the_bound():
    quick, slow = ([outcome(10 + place / 50, takes) for place in range(200)] for takes in (0.02, 0.3))
    refused = [
        outcome(10 + place / 50, 0.001, "RESOURCE_EXHAUSTED" if place % 20 == 0 else "OK") for place in range(200)
    ]
    assert bears([run_of(quick), run_of(quick), run_of(slow)], 99, 100)
    assert not bears([run_of(quick), run_of(slow), run_of(slow)], 99, 100)
    assert not bears([run_of(refused)], 99, 100)  # one in twenty was never answered
    assert tail_ms([run_of(refused)], 90) == pytest.approx(1, rel=1e-2)
