"""The `beamstep` command against a real server, and without one."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from PIL import Image
from typer.testing import CliRunner

from beamstep import cli
from beamstep.cli import app
from serving.cores import cores

CENTRED = "x,y\n0,0\n2,0\n2,2\n0,2\n1,1\n"
SQUARE = "0 0\n2 0\n2 2\n0 2\n"


@pytest.fixture
def run(server, monkeypatch):
    monkeypatch.setenv("BEAMSTEP_ADDRESS", server.address)
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()

    def run(*arguments, stdin=None):
        return runner.invoke(app, [str(argument) for argument in arguments], input=stdin)

    return run


def succeeded(result) -> str:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def failed(result, status: int) -> str:
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1, "one sentence"
    return result.stderr


def test_translate_prints_the_translation_alone(run):
    assert succeeded(run("translate", "ein hund läuft")) == "ein hund läuft\n"


def test_translate_reads_stdin_line_by_line_and_keeps_empty_lines(run):
    assert succeeded(run("translate", "-", stdin="ein hund\n\n  \nzwei kinder\n")) == "ein hund\n\n\nzwei kinder\n"


def test_several_hypotheses_come_with_their_scores(run):
    lines = succeeded(run("translate", "ein hund", "--beam-size", 4, "--hypotheses", 3)).splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert lines[0].endswith("  ein hund")
    assert len(lines) == 3


def test_json_is_one_line_an_answer_with_the_protos_names(run):
    lines = succeeded(run("translate", "-", "--json", stdin="ein hund\nläuft\n")).splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["hypotheses"][0]["text"] for answer in answers] == ["ein hund", "läuft"]
    assert answers[0]["model"] == {"name": "translation", "version": "2"}
    assert answers[0]["timings"]["step_count"] >= 2


def test_a_model_and_its_version_are_named_together(run):
    answer = json.loads(succeeded(run("translate", "ein hund", "--model", "translation/1", "--json")))
    assert answer["model"]["version"] == "1"


def test_caption_reads_a_file(run, tmp_path):
    Image.new("RGB", (20, 20), "white").save(tmp_path / "white.png")
    assert succeeded(run("caption", tmp_path / "white.png")).strip()


def test_a_hull_is_printed_and_drawn(run, tmp_path):
    (tmp_path / "points.csv").write_text(CENTRED)
    output = succeeded(run("hull", tmp_path / "points.csv", "--svg", tmp_path / "hull.svg"))
    assert "4 corners, area 4" in output
    picture = fromstring((tmp_path / "hull.svg").read_text())
    [polygon] = picture.iter("{http://www.w3.org/2000/svg}polygon")
    assert len(polygon.get("points").split()) == 4


def test_a_tour_reads_stdin(run):
    output = succeeded(run("tour", "-", stdin=SQUARE))
    assert "4 points, length 8" in output


def test_a_triangulation_is_printed_and_drawn(run, tmp_path):
    output = succeeded(run("triangulate", "-", "--svg", tmp_path / "triangles.svg", stdin=SQUARE))
    assert "2 triangles, covers the hull once" in output
    assert (tmp_path / "triangles.svg").read_text().count("<polygon") == 2


def test_points_are_repaired_and_decoded_in_symmetries_where_asked_to(run):
    points, asked = "0 0\n2 0\n2 2\n0 2\n1 1\n", ("--max-length", 2, "--repair", "fix", "--symmetries", 8)
    output = succeeded(run("hull", "-", *asked, stdin=points))
    assert "4 corners, area 4, the convex hull, repaired (" in output
    output = succeeded(run("triangulate", "-", *asked, stdin=points))
    assert "4 triangles, covers the hull once, Delaunay, repaired (4 triangles changed)" in output
    assert "5 points, length 8.82843, repaired (" in succeeded(run("tour", "-", *asked, stdin=points))
    refused = run("hull", "-", "--symmetries", 9, stdin=points)
    assert refused.exit_code == 2
    assert "symmetries: 9; allowed: from 1 to 8" in refused.stderr


def test_models_are_listed_and_one_is_described(run):
    listed = succeeded(run("models"))
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [
        "captioning/1", "convex_hull/1", "delaunay/1", "tour/1", "translation/2", "translation/1",
    ]  # fmt: skip
    described = succeeded(run("models", "translation/1"))
    assert "four sentences (CC0-1.0)" in described
    assert len(json.loads(succeeded(run("models", "--json")))["models"]) == 6
    assert json.loads(succeeded(run("models", "tour", "--json")))["model"]["task"] == "TASK_TOUR"


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["translate", "  "], None, "error: text: 2 characters of white space; allowed: at least one"),
        (["translate", "hund", "--beam-size", "0"], None, "error: options.beam_size: 0; allowed: from 1 to 8"),
        (["translate", "hund", "--model", "latin"], None, "error: no translation model 'latin' is loaded"),
        (["translate", "a\udcff"], None, "error: the input is not UTF-8 text"),
        (["hull", "-"], "1 2\n3\n", "error: -, line 2: '3'; allowed: two numbers"),
        (["hull", "-"], "1 2\n3 4\n", "error: points: 2 points; allowed: from 3 to 20 points"),
        (["tour", "-"], "1 2\n3 4\nnan 3\n", "error: points[2].x: nan; allowed: a finite number"),
        (["hull", "/nowhere/points.csv"], None, "error: /nowhere/points.csv: No such file or directory"),
        (["caption", "/nowhere/photo.jpg"], None, "error: /nowhere/photo.jpg: No such file or directory"),
        (["caption", __file__], None, "of another kind; allowed: a JPEG, PNG or WebP file"),
        (["models", "latin"], None, "error: no model 'latin' is loaded"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(run, arguments, stdin, message):
    assert message in failed(run(*arguments, stdin=stdin), 2)


def test_a_number_that_no_message_can_hold_is_wrong_usage(run):
    result = run("translate", "hund", "--beam-size", "99999999999")
    assert result.exit_code == 2
    assert "at most 32 bits" in result.stderr


def test_a_file_that_is_not_text_is_bad_input(run, tmp_path):
    (tmp_path / "points.csv").write_bytes(b"\xff\xfe1,2")
    assert "not UTF-8" in failed(run("hull", tmp_path / "points.csv"), 2)


def test_nobody_there_is_status_3(run):
    message = failed(run("models", "--address", "localhost:1", "--timeout", 5), 3)
    assert message.startswith("error: no server is ready at localhost:1: ")


def test_a_timeout_is_status_1(run, opened):
    opened["tour/1"].step_s = 0.3
    try:
        assert failed(run("tour", "-", "--timeout", 0.1, stdin=SQUARE), 1) == "error: Deadline Exceeded\n"
    finally:
        opened["tour/1"].step_s = 0.0


def test_wrong_usage_is_status_2(run):
    assert run("translate").exit_code == 2
    assert run("translate", "x", "--beam-size", "wide").exit_code == 2
    assert run("dance").exit_code == 2
    assert run("tour", "-", "--timeout", -1).exit_code == 2


def test_the_program_itself_runs(server, tmp_path):
    (tmp_path / "photo.webp").write_bytes(_webp())
    environment = os.environ | {"BEAMSTEP_ADDRESS": server.address}
    program = Path(sys.executable).parent / "beamstep"

    def run(*arguments):
        return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=False)

    assert run("translate", "ein hund").stdout == "ein hund\n"
    assert run("caption", str(tmp_path / "photo.webp")).returncode == 0
    wrong = run("translate", "")
    assert wrong.returncode == 2
    assert wrong.stderr == "error: text: empty; allowed: at least one character that is not white space\n"


def test_a_reader_that_has_enough_ends_the_program_without_a_word(server):
    reading, writing = os.pipe()
    os.close(reading)
    assert _translate_into(server, writing) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_output_that_cannot_be_written_is_status_1(server):
    status, said = _translate_into(server, os.open("/dev/full", os.O_WRONLY))
    assert (status, said) == (1, "error: cannot write the output: No space left on device\n")


def test_help_lists_every_command_without_loading_grpc_or_any_package_behind_it():
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom beamstep.cli import app\n"
        "print(CliRunner().invoke(app, ['--help']).output)\n"
        "print('loaded:', sorted({'grpc', 'numpy', 'torch', 'serving', 'training', 'export', 'pydantic'} & set(sys.modules)))"
    )
    output = subprocess.check_output([sys.executable, "-c", script], text=True)
    for command in (
        "translate",
        "caption",
        "hull",
        "tour",
        "triangulate",
        "models",
        "serve",
        "train",
        "export",
        "evaluate",
    ):
        assert f" {command} " in output
    assert output.endswith("loaded: []\n")


def test_version_is_printed(run):
    assert succeeded(run("--version")).startswith("beamstep ")


def test_another_packages_command_gets_its_arguments_and_its_help(run):
    result = run("serve", "--help")
    assert result.exit_code == 0
    assert "--models" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "/nowhere"], "error: /nowhere: not a folder; expected models/<name>/<version>/manifest.json"),
        (["--provider", "Abacus"], "error: providers: asked for Abacus; this ONNX Runtime"),
        (
            ["--provider", "tensorrt,cuda"],
            "error: providers: asked for TensorrtExecutionProvider, CUDAExecutionProvider; this",
        ),
        (["--device-id", "-1"], "error: device_id: -1; allowed: from 0"),
        (["--pad-to-buckets"], "error: pad_to_buckets: True without io_binding; allowed: both, or neither"),
        (["--port", "-1"], "error: port: -1; allowed: from 0 (any free port) to 65535"),
        (["--services", "latin,"], "error: services: latin; allowed: some of translation, captioning, pointing"),
        (["--max-rows", "0"], "error: max_rows: 0; allowed: from 1"),
        (["--step-threads", "0"], "error: step_threads: 0; allowed: from 1"),
        (["--engine-threads", "0"], "error: engine_threads: 0; allowed: from 1"),
        (["--grace", "nan"], "error: grace_s: nan; allowed: from 0"),
        (["--max-message-mb", "nan"], "error: max_message_mb: nan; allowed: a finite number"),
        (["--max-message-mb", "2048"], "error: message_bytes: 2147483648; allowed: from 1024 to 2147483647"),
    ],
)
def test_serving_with_a_wrong_option_stops_with_a_sentence(run, arguments, message):
    assert message in failed(run("serve", *arguments), 2)


def test_serving_says_what_threads_it_has_and_what_for(run, caplog):
    with caplog.at_level("INFO"):
        failed(run("serve", "--models", "/nowhere", "--engine-threads", "3", "--step-threads", "2", "--no-spinning"), 2)
    said = "the engine has 3 threads, the encoder 1 and the step 2 in each; idle ones sleep; a process has"
    assert f"{said} {cores()}" in caplog.text


def test_what_is_asked_of_sessions_reaches_them(run, monkeypatch):
    configs = []

    async def note(config):
        configs.append(config.session)

    monkeypatch.setattr("serving.command.run_server", note)
    asked = "--precision fp16 --allow-uncertified --device-id 1 --tensorrt-cache engines --io-binding --pad-to-buckets"
    succeeded(run("serve", "--provider", "cpu", "--encoder-threads", "3", *asked.split()))
    assert (configs[0].providers, configs[0].encoder_threads) == (("CPUExecutionProvider",), 3)
    assert (configs[0].precision, configs[0].allow_uncertified) == ("fp16", True)
    assert (configs[0].device_id, configs[0].tensorrt_cache) == (1, Path("engines"))
    assert (configs[0].bound, configs[0].padded) == (True, True)
    succeeded(run("serve"))
    assert (configs[1].precision, configs[1].allow_uncertified, configs[1].bound) == (None, False, False)


def test_a_command_whose_package_is_missing_names_the_extra(monkeypatch):
    class Missing:
        name = "train"

        def load(self):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

    command = cli._hand_over(Missing())
    probe = cli.typer.Typer()
    probe.command()(command)
    result = CliRunner().invoke(probe, [])
    assert result.exit_code == 1
    assert result.stderr.strip() == (
        "error: beamstep train needs the package torch, which is not installed: pip install 'beamstep[train]'"
    )


def _translate_into(server, descriptor: int) -> tuple[int, str]:
    """Print a translation into a file descriptor; return the exit status and stderr."""
    program = [Path(sys.executable).parent / "beamstep", "translate", "ein hund", "--json", "--address", server.address]
    with os.fdopen(descriptor, "wb", buffering=0) as output:
        done = subprocess.run(program, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


def _webp() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "black").save(buffer, "WEBP")
    return buffer.getvalue()
