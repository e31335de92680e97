"""`beamstep bench` against a real server whose models are planned, over our API and over KServe, and without any server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from beamstep import cli
from beamstep.cli import app
from tests.fakes.stubs import picture

SHORT = ("--warm-up", "0.2", "--duration", "1", "--repeats", "2", "--windows", "2", "--channels", "2")


@pytest.fixture
def run(server, monkeypatch):
    monkeypatch.setenv("BEAMSTEP_ADDRESS", server.address)
    monkeypatch.delenv("COLUMNS", raising=False)
    runner = CliRunner()

    def run(*arguments):
        return runner.invoke(app, ["bench", *map(str, arguments)])

    return run


@pytest.fixture
def texts(tmp_path) -> Path:
    lines = [{"text": "hund"}, {"text": "hund", "weight": 3, "options": {"beam_size": 2}}]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "texts.jsonl"


def succeeded(result) -> str:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def lines_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_open_loop_is_measured_with_where_its_time_went(run, texts, tmp_path):
    output = succeeded(run("run", texts, "--rate", "20,40", "--beam", "1,3", *SHORT, "--json", tmp_path / "a.json"))
    assert "20/s, beam 3" in output
    environment, *runs = lines_of(tmp_path / "a.json")
    assert environment["kind"] == "environment"
    assert environment["versions"]["grpcio"]
    assert [(run["point"]["rate"], run["point"]["beam_size"], run["repeat"]) for run in runs] == [
        (rate, beam, repeat) for repeat in (0, 1) for beam in (1, 3) for rate in (20, 40)
    ]
    for line in runs:
        assert line["errors"] == {}
        assert line["due"] > 0
        parts = line["milliseconds"]
        assert parts["latency"]["count"] == line["due"] == parts["service"]["count"] == parts["transport"]["count"]
        assert {"queue", "encode", "decode", "server", "lateness", "lag"} <= parts.keys()
        assert parts["server"]["mean"] <= parts["service"]["mean"] <= parts["latency"]["mean"]
        assert line["generator"]["processor_s"] > 0
        assert sum(window["due"] for window in line["windows"]) == line["due"]
    [latin] = [model for model in runs[0]["server"] if model["name"] == "translation" and model["version"] == "1"]
    assert len(latin["manifest_sha256"]) == 64
    assert latin["graphs_sha256"].keys() == {"encoder", "decoder_step"}


def test_a_closed_loop_over_two_processes_shares_its_clients(run, texts, tmp_path):
    succeeded(run("run", texts, "--concurrency", "3", "--processes", "2", *SHORT, "--json", tmp_path / "a.json"))
    _, first, second = lines_of(tmp_path / "a.json")
    for line in (first, second):
        assert line["point"]["concurrency"] == 3
        assert line["achieved_per_s"] > 0
        assert line["milliseconds"]["lateness"]["p99"] < line["milliseconds"]["latency"]["p50"]


def test_streams_have_first_messages_and_what_lies_between(run, texts, tmp_path):
    succeeded(run("run", texts, "--rate", "20", "--stream", *SHORT, "--json", tmp_path / "a.json"))
    parts = lines_of(tmp_path / "a.json")[1]["milliseconds"]
    assert parts["first"]["count"] == parts["latency"]["count"] == parts["committed"]["count"]
    assert parts["first"]["mean"] <= parts["latency"]["mean"]


def test_images_and_points_are_asked_too(run, tmp_path):
    (tmp_path / "white.png").write_bytes(picture())
    requests = [
        {"image": "white.png"},
        *({"points": [[0, 0], [2, 0], [2, 2], [0, 2]], "task": task} for task in ("tour", "convex_hull", "delaunay")),
    ]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in requests))
    succeeded(run("run", tmp_path / "all.jsonl", "--rate", "40", *SHORT, "--json", tmp_path / "a.json"))
    assert all(line["errors"] == {} for line in lines_of(tmp_path / "a.json")[1:])


def test_the_same_is_asked_over_kserve(run, tmp_path):
    (tmp_path / "white.png").write_bytes(picture())
    square = [[0, 0], [2, 0], [2, 2], [0, 2]]
    requests = [
        {"text": "hund", "model": "translation/1", "options": {"beam_size": 2, "length_penalty": 0.5}},
        {"image": "white.png", "model": "captioning"},
        *({"points": square, "task": task, "model": task} for task in ("tour", "convex_hull", "delaunay")),
    ]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in requests))
    asked = ("run", tmp_path / "all.jsonl", "--protocol", "kserve", "--rate", "40")
    succeeded(run(*asked, *SHORT, "--json", tmp_path / "a.json"))
    for line in lines_of(tmp_path / "a.json")[1:]:
        assert line["errors"] == {}
        assert line["milliseconds"]["latency"]["count"] == line["due"] > 0
        assert {"queue", "encode", "decode", "server", "transport"} <= line["milliseconds"].keys()  # of server-timing
        assert {model["name"] for model in line["server"]} == {
            "translation", "captioning", "tour", "convex_hull", "delaunay",
        }  # fmt: skip
        assert all(model["server"].startswith("beamstep") for model in line["server"])


def test_arrivals_are_replayed(run, texts, tmp_path):
    (tmp_path / "arrivals").write_text("".join(f"{7 + place / 64}\n" for place in range(60)))
    asked = ("run", texts, "--arrivals", tmp_path / "arrivals")
    succeeded(run(*asked, "--warm-up", "0.25", "--duration", "9", "--repeats", "1", "--json", tmp_path / "a.json"))
    [line] = lines_of(tmp_path / "a.json")[1:]
    assert line["seconds"] == pytest.approx(59 / 64 - 0.25)  # up to the last of them
    assert (
        line["due"] == 43
    )  # 16 were in the warm-up, and the last one lies on the end; 64ths are sums of powers of two, so no rounding


def test_a_search_finds_the_limit_that_it_may_go_to(run, texts, tmp_path):
    asked = ("search", texts, "--p99-ms", "60000", "--start", "10", "--limit", "15")
    output = succeeded(run(*asked, *SHORT, "--json", tmp_path / "a.json"))
    assert "15/s" in output.split("highest rate with p99 of latency within 60000 ms")[1]
    assert {line["point"]["rate"] for line in lines_of(tmp_path / "a.json")[1:]} == {10, 15}


def test_recordings_are_shown_drawn_and_compared(run, texts, tmp_path):
    for name in "ab":
        succeeded(run("run", texts, "--rate", "30", *SHORT, "--json", tmp_path / f"{name}.json"))
    assert "30/s" in succeeded(run("show", tmp_path / "a.json", "--plot", tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    compared = run("compare", tmp_path / "a.json", tmp_path / "b.json", "--bound", "1000")
    assert "p99" in succeeded(compared)
    slow = (tmp_path / "b.json").read_text().replace('"answered": ', '"answered": 0')  # 017 is no number
    (tmp_path / "broken.json").write_text(slow)
    broken = run("compare", tmp_path / "a.json", tmp_path / "broken.json")
    assert broken.exit_code == 2
    assert "broken.json, line 2" in broken.stderr


def test_a_regression_is_exit_status_1(run, texts, tmp_path):
    succeeded(run("run", texts, "--rate", "30", *SHORT, "--json", tmp_path / "a.json"))
    environment, *runs = lines_of(tmp_path / "a.json")
    for line in runs:
        for window in line["windows"]:
            window["answered"] //= 3
    (tmp_path / "b.json").write_text("".join(json.dumps(line) + "\n" for line in [environment, *runs]))
    result = run("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: worse beyond the bound of 1.1: 30/s: rate 0.")
    assert run("compare", tmp_path / "b.json", tmp_path / "a.json").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "5", "--beam", "99"], "options.beam_size: 99; allowed: from 1 to 8"),
        (["--rate", "5", "--model", "greek"], "no translation model 'greek' is loaded"),
        (["--rate", "5", "--protocol", "kserve"], "--model: not given; needed with --protocol kserve"),
        (["--rate", "5", "--protocol", "kserve", "--model", "greek"], "greek"),
        (["--rate", "five"], "--rate: 'five'; allowed: numbers with commas between"),
        (["--rate", "5", "--concurrency", "1"], "--rate and --concurrency: both given"),
        (["--rate", "5", "--arrivals", "/nowhere"], "/nowhere: No such file or directory"),
        (["--rate", "5", "--plot", "a.bmp"], "a.bmp; allowed: a name that ends with .png, .svg or .pdf"),
        (["--rate", "5", "--serve", "--port 5"], "--serve: --port; allowed: options other than --port and --host"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence_and_status_2(run, texts, arguments, message):
    result = run("run", texts, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_no_server_is_exit_status_3(run, texts):
    result = run("run", texts, "--rate", "5", "--address", "localhost:1", "--timeout", "2")
    assert result.exit_code == 3
    assert "no server is ready at localhost:1" in result.stderr


def test_calls_that_all_fail_are_no_result(run, texts, server):
    asked = ("run", texts, "--rate", "20", *SHORT, "--timeout", "0.3")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("beamstep.bench.contact.Contact.ask", lambda *_, **__: b"")
        result = run(*asked, "--model", "greek")
    assert result.exit_code == 1
    assert "not one call was answered: NOT_FOUND" in result.stderr


def test_servers_of_ones_own_are_started_and_stopped(run, tmp_path, shipped_models, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    points = {"points": [[0, 0], [2, 0], [2, 2], [0, 2], [1, 1.5]], "task": "convex_hull"}
    (tmp_path / "points.jsonl").write_text(json.dumps(points) + "\n")
    serve = f"--models {shipped_models} --services pointing --step-threads 1 --max-rows {{16,32}}"
    asked = ("run", tmp_path / "points.jsonl", "--concurrency", "1", "--serve", serve, "--json", tmp_path / "a.json")
    output = succeeded(run(*asked, *SHORT, "--repeats", "1"))
    assert "1 client, --max-rows 16" in output
    first, second = lines_of(tmp_path / "a.json")[1:]
    assert [line["point"]["serve"][-2:].strip() for line in (first, second)] == ["16", "32"]
    assert first["settings"]["address"] != second["settings"]["address"]
    mistaken = run(*asked[:4], "--serve", "--step-thread 1", *SHORT)
    assert "No such option" in mistaken.stderr
    refused = run(*asked[:4], "--serve", "--models /nowhere", *SHORT)
    assert refused.exit_code == 1
    assert "/nowhere" in refused.stderr


def test_workloads_are_made(run, tmp_path):
    (tmp_path / "text").write_text("one two three\nfour five\n")
    asked = ("workload", "sentences", tmp_path / "text", "-o", tmp_path / "made.jsonl", "--count", "5")
    assert succeeded(run(*asked)).startswith(f"{tmp_path / 'made.jsonl'}: 5 requests, sha256 ")
    assert len(lines_of(tmp_path / "made.jsonl")) == 5
    succeeded(run("workload", "points", "tour", "-o", tmp_path / "tour.jsonl", "--lengths", "zipf"))
    refused = run("workload", "points", "tours", "-o", tmp_path / "tour.jsonl")
    assert refused.exit_code == 2
    assert "TASK: 'tours'; allowed: convex_hull, delaunay, tour" in refused.stderr
    refused = run("workload", "sentences", tmp_path / "text", "-o", tmp_path / "a", "--shortest", "4", "--longest", "3")
    assert "--longest: 3; allowed: from --shortest, 4" in refused.stderr


def test_without_the_extra_the_command_says_what_to_install():
    hidden = "import sys; sys.modules['hdrh'] = None; from beamstep.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", hidden, "bench", "--help"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "beamstep bench needs the package hdrh" in result.stderr.replace("\n", " ")
    assert "pip install 'beamstep[bench]'" in result.stderr
    assert "bench" in cli.HANDED_OVER
