"""`python -m benchmarks.faults`: rows that were met or not, and where their figures are put."""

from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.documents import written
from benchmarks.faults import __main__ as command
from benchmarks.faults.outcome import Outcome, percentile

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch):
    """Run the command on two rows that cost nothing and say what size they were given."""

    async def good(size):
        return Outcome(f"size {size:g}", ("nothing happened",))

    async def bad(size):
        return Outcome(f"size {size:g}", (), ("a crash",), ("late",))

    rows = {"good": command.Row(good, 2, "minutes"), "bad": command.Row(bad, 1000, "count")}
    monkeypatch.setattr(command, "ROWS", rows)
    app = Typer()
    app.command()(command.faults)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_a_row_is_written_into_its_place_with_date_and_machine(run, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- python -m benchmarks.faults good -->\nold\n<!-- end -->\nafter\n")
    done = run("good", "--write", str(page))
    assert done.exit_code == 0, done.output
    lines = written(page, "python -m benchmarks.faults good")
    assert "**met**" in lines
    assert "- size 120." in lines
    assert "- nothing happened." in lines
    assert any("cores; python" in line for line in lines)
    assert "old" not in lines


def test_a_row_that_was_not_met_says_so_and_fails_the_command(run):
    done = run("--count", "5")
    assert done.exit_code == 1
    assert "**NOT met: a crash; late**" in done.output
    assert "- size 5 (the whole row is 1,000 count)." in done.output
    assert "- size 120." in done.output, "minutes were not given"


def test_a_row_there_is_none_of_is_refused(run):
    done = run("worse")
    assert done.exit_code == 2
    assert "worse" in done.output


def test_the_page_has_a_place_for_every_row():
    for name in command.ROWS:
        written(ROOT / "docs" / "reliability.md", f"python -m benchmarks.faults {name}")


def test_percentiles_are_values_that_were_measured():
    assert [percentile([3, 1, 2, 4], share) for share in (0.0, 0.25, 0.5, 0.99, 1.0)] == [1, 1, 2, 4, 4]
