"""`python -m benchmarks.peers`: sides in turn, ratios repeat by repeat, verdicts, and where all of it is put."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from beamstep.bench.tally import Tally, Window
from benchmarks import environment
from benchmarks.documents import written
from benchmarks.peers import __main__ as command
from benchmarks.peers.load import LoadError, Measured
from benchmarks.peers.plain_server import Batches
from benchmarks.peers.table import (
    Effort,
    Group,
    NotMeasuredError,
    Ratio,
    Result,
    Sides,
    Table,
    as_markdown,
    measure,
    number,
    spread,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Nobody else is on this machine."""

    class Nobody:
        def __init__(self, pids):
            pass

        def share(self):
            return 0.0

    monkeypatch.setattr(environment, "Onlookers", Nobody)


def group_of(figures, ratios=(), order=None, **more):
    """Return a group whose sides give these figures, one after the other."""

    @contextmanager
    def opened(effort):
        left = {side: iter(values) for side, values in figures.items()}

        def one(side):
            if order is not None:
                order.append(side)
            return {"p50, ms": next(left[side])}

        yield Sides({side: lambda side=side: one(side) for side in figures})

    return Group("some", opened, ratios, **more)


def test_sides_are_measured_in_turn_and_ratios_are_of_the_same_repeat():
    order = []
    ratio = Ratio("p50, ms", "slow", "fast", target=3)
    result = measure(group_of({"fast": [1, 2, 4], "slow": [2, 8, 12]}, (ratio,), order), Effort(repeats=3))
    assert order == ["fast", "slow"] * 3
    assert ratio.values(result.taken) == [2, 4, 3]
    assert result.met
    assert [line for line in as_markdown(result) if line] == [
        "**some**",
        "| | p50, ms |",
        "|---|---|",
        "| fast | 2 (1 to 4) |",
        "| slow | 8 (2 to 12) |",
        "- p50: slow over fast 3 (2 to 4); target at least 3: met.",
    ]


def test_a_missed_target_and_a_figure_with_a_bound_of_its_own():
    bound = Ratio("p50, ms", "only", target=4, at_most=True)
    result = measure(group_of({"only": [5]}, (bound,)), Effort(repeats=1))
    assert not result.met
    assert "- p50: only 5; target at most 4: **MISSED**." in list(as_markdown(result))


def test_remarks_are_made_of_the_medians():
    group = group_of({"only": [3, 1, 2]}, remarks=lambda found: [f"in the middle {found['only']['p50, ms']:g}"])
    assert "- in the middle 2." in list(as_markdown(measure(group, Effort(repeats=3))))


def test_a_group_that_cannot_be_measured_says_why_and_is_not_met():
    @contextmanager
    def opened(effort):
        raise NotMeasuredError("no such thing here")
        yield

    result = measure(Group("some", opened), Effort())
    assert not result.met
    assert "Not measured: no such thing here" in list(as_markdown(result))


def test_others_at_work_are_told_of():
    assert any("took up to 30%" in line for line in as_markdown(Result("some", taken={"a": [{"x": 1}]}, others=0.3)))


def test_numbers_have_three_digits_that_say_something():
    assert [number(value) for value in (0.012345, 1.2345, 123.45, 12345)] == ["0.0123", "1.23", "123", "12,300"]
    assert spread([2.0]) == "2"


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"seconds": 0}])
def test_an_effort_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: 0; allowed"):
        Effort(**wrong)


@pytest.fixture
def run(monkeypatch):
    """Run the command on two tables that cost nothing."""
    missed = (Ratio("p50, ms", "only", target=100),)
    tables = {
        "good": Table("good", (group_of({"only": [1, 2, 3]}),)),
        "bad": Table("bad", (group_of({"only": [1, 2, 3]}, missed),)),
    }
    monkeypatch.setattr(command, "TABLES", tables)
    app = Typer()
    app.command()(command.peers)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_a_table_is_written_into_its_place_and_into_a_file(run, tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("before\n<!-- python -m benchmarks.peers good -->\nold\n<!-- end -->\nafter\n")
    done = run("good", "--write", str(page), "--json", str(file))
    assert done.exit_code == 0, done.output
    lines = written(page, "python -m benchmarks.peers good")
    assert "| only | 2 (1 to 3) |" in lines
    assert any("cores; python" in line for line in lines)
    assert "old" not in lines
    content = json.loads(file.read_text())
    assert content["tables"]["good"]["some"]["taken"]["only"] == [{"p50, ms": value} for value in (1, 2, 3)]


def test_a_missed_target_fails_the_command_and_an_unknown_table_is_refused(run):
    assert run("bad").exit_code == 1
    refused = run("worse")
    assert refused.exit_code == 2
    assert "worse" in refused.output


def test_the_page_has_a_place_for_every_table():
    for name in command.TABLES:
        written(ROOT / "docs" / "performance.md", f"python -m benchmarks.peers {name}")


async def test_requests_that_wait_while_others_are_answered_are_answered_together():
    batches = []

    def answer(requests):
        batches.append(list(requests))
        return [f"answer {request}" for request in requests]

    with ThreadPoolExecutor(1) as thread:
        asked = Batches(answer, 3, thread)
        found = await asyncio.gather(*(asked.ask(place) for place in range(5)))
    assert found == [f"answer {place}" for place in range(5)]
    assert [len(batch) for batch in batches] == [3, 2]


def test_calls_that_fail_leave_the_group_unmeasured_and_the_other_groups_alone():
    @contextmanager
    def opened(effort):
        def fail():
            raise LoadError("calls failed: 3 INTERNAL")

        yield Sides({"only": fail})

    result = measure(Group("some", opened), Effort())
    assert (result.met, result.missing) == (False, "only: calls failed: 3 INTERNAL")


def test_a_rate_is_counted_where_answers_are_many_and_clients_over_latency_where_they_are_few():
    def tally(latency_s, answered):
        found = Tally([Window(answered=answered)])
        for _ in range(answered):
            found.part("latency").record(latency_s)
        return found

    assert Measured(tally(0.1, 640), 4.0, clients=32).per_second == 160
    assert Measured(tally(3.0, 31), 4.0, clients=32).per_second == pytest.approx(32 / 3, rel=1e-3)
    assert Measured(tally(3.0, 31), 4.0).per_second == 31 / 4
