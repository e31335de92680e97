"""`beamstep evaluate`: what it prints, what it records, what it refuses. The model is planned; all else is real."""

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from export.evaluation import command
from serving.bundle import Bundle, load_bundle
from tests.fakes.bundles import write_bundle
from tests.fakes.planned import open_planned

HULL = "0 0 1 0 1 1 0 1 output 1 2 3 4 1\n"
app = Typer()
app.command()(command.evaluate)


@pytest.fixture
def hull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(command, "OnnxModel", open_planned)
    return write_bundle(tmp_path / "models", "convex_hull", "hull")


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    folder = tmp_path / "squares"
    folder.mkdir()
    path = folder / "convex_hull_4.txt"
    path.write_text(HULL * 2 + HULL.replace("1 2 3 4 1", "1 4 3 1"))
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_json_is_the_last_line_of_stdout(hull, instances):
    result = run(hull.folder, "--instances", instances, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1]) == {"count": 3, "exact": 66.6667, "valid": 100, "area": 100}


def test_without_json_a_table_is_printed(hull, instances):
    result = run(hull.folder, "--instances", instances, "--limit", 2)
    assert "squares convex_hull_4, first 2" in result.stdout
    assert [line.split() for line in result.stdout.splitlines()[1:3]] == [["count", "2"], ["exact", "100"]]


def test_the_latest_version_is_evaluated_when_none_is_named(hull, instances):
    for version in ("9", "10"):
        write_bundle(hull.folder.parent.parent, "convex_hull", "hull", version)
    assert command.find_bundle(hull.folder.parent).name == "10"
    assert command.find_bundle(hull.folder) == hull.folder
    assert run(hull.folder.parent, "--instances", instances).exit_code == 0


def test_recorded_figures_carry_the_data_and_the_command_to_measure_them_again(hull, instances):
    assert run(hull.folder, "--instances", instances, "--beam-size", 3, "--record", "--json").exit_code == 0
    recorded = load_bundle(hull.folder).manifest.quality[-3:]
    assert [(figure.metric, figure.value) for figure in recorded] == [("exact", 66.6667), ("valid", 100), ("area", 100)]
    assert {figure.data for figure in recorded} == {"squares convex_hull_4"}
    command_line = f"beamstep evaluate {hull.folder} --instances {instances} --beam-size 3 --json"
    assert {figure.command for figure in recorded} == {command_line}


def test_nothing_is_recorded_unless_asked(hull, instances):
    assert run(hull.folder, "--instances", instances).exit_code == 0
    assert load_bundle(hull.folder).manifest == hull.manifest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--instances is missing; a convex_hull bundle is evaluated with --instances"),
        (["--source", "a"], "--instances is missing, --source is for another task"),
        (["--instances", "absent"], "absent: No such file or directory"),
        (["--instances", "{instances}", "--split", "val"], "--split is for another task"),
        (["--instances", "{instances}", "--beam-size", "0"], "options.beam_size: 0; allowed: from 1 to 8"),
        (
            ["--instances", "{instances}", "--length-penalty", "nan"],
            "options.length_penalty: nan; allowed: from 0 to 5",
        ),
    ],
)
def test_wrong_options_are_named_in_one_sentence(hull, instances, options, message):
    result = run(hull.folder, *(option.format(instances=instances) for option in options))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert result.stdout == ""


def test_a_malformed_line_is_named(hull, instances):
    instances.write_text(HULL + "0 0 1 1\n")
    result = run(hull.folder, "--instances", instances)
    assert result.exit_code == 2
    assert result.stderr == f"error: {instances}:2: 4 coordinates; expected x and y of at least 3 points\n"


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_is_at_least_one(hull, instances, limit):
    result = run(hull.folder, "--instances", instances, "--limit", limit)
    assert result.exit_code == 2
    assert "--limit" in result.stderr


def test_a_folder_without_a_bundle_is_named(tmp_path, instances):
    result = run(tmp_path, "--instances", instances)
    assert result.exit_code == 2
    assert "manifest.json: missing" in result.stderr
