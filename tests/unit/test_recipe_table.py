"""The table of choices: every recipe of it is there, and a short run is trained, exported, evaluated and then only printed."""

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.recipe_table import GROUPS, OUTCOME, Group, recipe_table
from training.recipe import find_recipe, read_recipe

app = Typer()
app.command()(recipe_table)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS.keys())
def test_every_choice_is_a_recipe_that_takes_what_it_is_evaluated_on(group: Group) -> None:
    for choice in group.choices:
        limits = read_recipe(find_recipe(choice.recipe)).export.limits
        if choice.points is not None:
            assert limits.min_source_length <= choice.points <= limits.source_length
        assert choice.points in group.files or choice.points is not None


def test_a_choice_is_trained_once_and_then_known(tmp_path: Path) -> None:
    points = tmp_path / "pointer" / "convex_hull_5_test.txt.gz"
    points.parent.mkdir()
    points.write_bytes(_gzipped("0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9 0.5 0.5 output 1 2 3 4 1\n" * 3))
    arguments = [
        "hull",
        "--minutes",
        "0.01",
        "--only",
        "ptr-net-5",
        "--data",
        str(tmp_path),
        "--runs",
        str(tmp_path / "runs"),
    ]
    first = CliRunner().invoke(app, [*arguments, "--limit", "2"])
    assert first.exit_code == 0, first.output
    rows = [line for line in first.stdout.splitlines() if line.startswith("| `ptr-net-5`")]
    assert len(rows) == 1
    assert "92.0 / - / 99.6" in rows[0]
    outcome = json.loads((tmp_path / "runs" / "0.01-minutes" / "ptr-net-5" / OUTCOME).read_text(encoding="utf-8"))
    assert outcome["evaluated"]["figures"]["count"] == 2
    assert outcome["trained"]["steps"] > 0
    assert outcome["trained"]["processor_minutes"] >= 0.01
    known = CliRunner().invoke(app, [*arguments, "--finished"])
    assert [line for line in known.stdout.splitlines() if line in rows] == rows
    again = CliRunner().invoke(app, [*arguments, "--again"])
    assert "convex_hull_5_test, first 1000, 3 |" in again.stdout
    assert f"| {outcome['trained']['steps']:,} | " in again.stdout


def test_a_choice_whose_data_is_not_there_is_left_out(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["captioning", "--only", "captioning-resnet50", "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    )
    assert result.exit_code == 0, result.output
    assert "left out: captioning-resnet50" in result.stderr
    assert "captioning-resnet50" not in result.stdout


def test_an_unknown_group_is_answered_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["hulls"])
    assert result.exit_code == 2
    assert CliRunner().invoke(app, ["hull", "--only", "lstm-6"]).exit_code == 2
    assert "captioning" in result.output


def _gzipped(text: str) -> bytes:
    import gzip

    return gzip.compress(text.encode())
