"""`--attention OUT`, `--picture OUT` and `beamstep curves` against a real server."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from beamstep.cli import app

SQUARE = "0 0\n2 0\n2 2\n0 2\n"
PNG = b"\x89PNG\r\n\x1a\n"
STARTS = {".png": PNG, ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def run(server, monkeypatch):
    monkeypatch.setenv("BEAMSTEP_ADDRESS", server.address)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments, stdin=None):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)

    return run


def succeeded(result) -> str:
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (40, 30), "navy").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("suffix", STARTS)
def test_an_alignment_is_drawn_beside_what_is_printed(run, tmp_path, suffix):
    file = tmp_path / f"alignment{suffix}"
    assert succeeded(run("translate", "ein hund", "--attention", file)).startswith("ein hund\n token ")
    assert file.read_bytes().startswith(STARTS[suffix])


def test_the_bare_flag_prints_wherever_it_stands(run, tmp_path):
    for arguments in (["--attention", "ein hund"], ["ein hund", "--attention"], ["--attention", "--", "ein hund"]):
        assert "looked most at" in succeeded(run("translate", *arguments))
    assert "looked most at" not in succeeded(run("translate", "ein hund"))
    assert list(tmp_path.iterdir()) == []


def test_a_scores_alignment_is_drawn_too_and_json_stays_alone(run, tmp_path):
    answer = json.loads(succeeded(run("score", "ein hund", "ein hund", "--json", f"--attention={tmp_path / 'a.png'}")))
    assert answer["decoding"]["tokens"][0]["attention"]
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_a_stream_draws_its_answer(run, tmp_path):
    assert succeeded(run("translate", "ein hund", "--stream", "--attention", tmp_path / "a.png")) == "ein hund\n"
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_a_photo_is_drawn_for_each_word(run, photo, tmp_path):
    caption = succeeded(run("caption", photo, "--attention", tmp_path / "looks.png")).splitlines()[0]
    assert (tmp_path / "looks.png").read_bytes().startswith(PNG)
    succeeded(run("score-caption", photo, caption, "--attention", tmp_path / "scored.png"))
    assert (tmp_path / "scored.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("command", ["hull", "tour", "triangulate"])
def test_points_are_drawn_and_what_was_pointed_at(run, tmp_path, command):
    picture, pointers = tmp_path / "picture.png", tmp_path / "pointers.png"
    plain = succeeded(run(command, "-", "--picture", picture, stdin=SQUARE))
    assert plain == succeeded(run(command, "-", stdin=SQUARE)), "a picture takes nothing from what is printed"
    succeeded(run(command, "-", "--attention", pointers, stdin=SQUARE))
    assert picture.read_bytes().startswith(PNG)
    assert pointers.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["translate", "hund", "--attention=out.gif"], None, "out.gif; allowed: a name that ends with .png, .svg or .pdf"),
        (["translate", "hund", "--attention", "/nowhere/a.png"], None, "/nowhere/a.png: No such file or directory"),
        (["translate", "-", "--attention", "a.png"], "a\nb\n", "--attention: a.png for many lines; allowed: a picture of one text"),
        (["hull", "-", "--picture", "out.bmp"], SQUARE, "out.bmp; allowed: a name that ends with .png, .svg or .pdf"),
        (["tour", "-", "--picture", "/nowhere/a.png"], SQUARE, "/nowhere/a.png: No such file or directory"),
        (["curves", "/nowhere", "--output", "a.png"], None, "/nowhere/metrics.jsonl: No such file or directory"),
        (["curves", "/nowhere", "--output", "a.txt"], None, "a.txt; allowed: a name that ends with .png, .svg or .pdf"),
    ],
)  # fmt: skip
def test_what_cannot_become_a_picture_is_one_sentence_and_status_2(run, arguments, stdin, message):
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")


def test_an_install_without_the_extra_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setattr("beamstep.pictures.file.find_spec", lambda _: None)
    for arguments in (
        ["translate", "hund", "--attention", tmp_path / "a.png"],
        ["curves", tmp_path, "--output", "a.png"],
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr == (
            "error: pictures need the package matplotlib, which is not installed: pip install 'beamstep[pictures]'\n"
        )
    assert "looked most at" in succeeded(run("translate", "hund", "--attention")), "what is printed needs nothing"


def test_the_toys_learning_curve_is_drawn(run, toy, tmp_path):
    assert succeeded(run("curves", toy, "--output", tmp_path / "curves.svg", "--over", "minutes")) == ""
    assert (tmp_path / "curves.svg").read_bytes().startswith(STARTS[".svg"])
    result = run("curves", toy, "--output", tmp_path / "none.png", "--metric", "bleu")
    assert result.exit_code == 2
    assert "error: metric: given 'bleu'; allowed for these runs: loss, perplexity, token_accuracy" in result.stderr
    assert not (tmp_path / "none.png").exists()
