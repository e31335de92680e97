"""`beamstep distil`: which sentences are taken, and what is written of a teacher's answers. The models are planned."""

import gzip
import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from export.distillation import command, teacher
from export.distillation.sentences import as_sentence, read_captions_as_text, without_held_back
from export.distillation.teacher import Teacher, Translated, pairs_of
from export.evaluation.lines import BadData
from serving.bundle import load_bundle
from serving.engine import Engine
from serving.tasks.translation import Translation
from tests.fakes.bundles import write_bundle
from tests.fakes.planned import open_planned

app = Typer()
app.command()(command.distil)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(teacher, "OnnxModel", open_planned)
    write_bundle(tmp_path / "models", "translation", "there")
    write_bundle(tmp_path / "models", "translation", "back")
    write_bundle(tmp_path / "models", "convex_hull", "hull")
    return tmp_path


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize(
    ("caption", "sentence"),
    [
        ("A girl going into a wooden building .", "A girl going into a wooden building."),
        ("a boy 's dog , wet", "A boy's dog, wet."),
        ('a " stop " sign - red !', 'A "stop" sign-red!'),
        ("  ", ""),
    ],
)
def test_captions_become_sentences(caption: str, sentence: str) -> None:
    assert as_sentence(caption) == sentence


def test_captions_of_photos_that_other_test_sets_have_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "captions.jsonl"
    records = [
        {"image": "1", "split": "train", "captions": ["a cat ."]},
        {"image": "2", "split": "train", "captions": ["a dog ."], "multi30k": {"split": "train"}},
        {"image": "3", "split": "train", "captions": ["a horse ."], "multi30k": {"split": "test_2016_flickr"}},
        {"image": "4", "split": "test", "captions": ["a cow ."]},
    ]
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert read_captions_as_text(file, "train") == ["A cat.", "A dog."]
    with pytest.raises(BadData, match="split 'dev' has no caption"):
        read_captions_as_text(file, "dev")
    file.write_text('{"image": "1"}\n')
    with pytest.raises(BadData, match=r"captions\.jsonl:1: no object with image, split and captions"):
        read_captions_as_text(file, "train")


def test_held_back_lines_and_repeated_ones_are_left_out_whatever_their_case_and_signs(tmp_path: Path) -> None:
    held_back = tmp_path / "test.en"
    held_back.write_text("two dogs , running\n")
    sentences = ["Two dogs, running.", "A cat.", "a cat", "A horse."]
    assert without_held_back(sentences, [held_back]) == ["A cat.", "A horse."]


def test_pairs_are_the_first_translations_and_have_one_tab() -> None:
    lists = [[Translated("x", -1.0), Translated("y", -2.0)], [Translated("a\tb", -1.0)], []]
    assert list(pairs_of(["one", "two", "three"], lists, 2)) == [("one", "x"), ("one", "y")]


def test_pairs_are_written_and_counted(folder: Path) -> None:
    sentences = folder / "text"
    sentences.write_text("a b\nb c\na b\n")
    result = run(folder / "models/there", "--source", sentences, "--output", folder / "out/pairs.tsv.gz")
    assert result.exit_code == 0, result.output
    lines = gzip.decompress((folder / "out/pairs.tsv.gz").read_bytes()).decode().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["a b", "b c"]
    assert all(line.split("\t")[1] for line in lines)
    assert "2 pairs of 2 sentences (3 given)" in result.output.replace("\n", " ")


def test_a_model_of_the_other_direction_reorders_the_candidates(folder: Path) -> None:
    forward, backward = (load_bundle(folder / "models" / name / "1") for name in ("there", "back"))
    models = {bundle.key: open_planned(bundle, None) for bundle in (forward, backward)}
    with Engine(models) as engine:
        alone = Teacher(engine, Translation(forward), None).translate(["a c"], 4)[0]
        judged = Teacher(engine, Translation(forward), Translation(backward)).translate(["a c"], 4)[0]
    assert len(alone) > 1
    assert {one.text for one in judged} == {one.text for one in alone}
    assert all(one.back < 0 for one in judged)
    totals = [one.score + one.back for one in judged]
    assert totals == sorted(totals, reverse=True)


def test_a_limit_takes_the_first_sentences(folder: Path) -> None:
    (folder / "text").write_text("a b\nc\nd\n")
    result = run(folder / "models/there", "--source", folder / "text", "--limit", 2, "--output", folder / "pairs.tsv")
    assert result.exit_code == 0, result.output
    assert [line.split("\t")[0] for line in (folder / "pairs.tsv").read_text().splitlines()] == ["a b", "c"]
    assert "2 pairs of 2 sentences (3 given)" in result.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--source and --captions: neither given"),
        (("--source", "text", "--candidates", 2, "--hypotheses", 3), "given 3; allowed: up to --candidates, 2"),
        (("--source", "nothing"), "nothing: No such file"),
    ],
)
def test_bad_input_is_named(folder: Path, words: tuple[object, ...], message: str) -> None:
    (folder / "text").write_text("a\n")
    placed = [folder / word if word in {"text", "nothing"} else word for word in words]
    result = run(folder / "models/there", *placed, "--output", folder / "pairs.tsv")
    assert result.exit_code == 2
    assert message in result.output
    assert not (folder / "pairs.tsv").exists()


def test_a_bundle_of_another_task_cannot_teach(folder: Path) -> None:
    (folder / "text").write_text("a\n")
    result = run(folder / "models/hull", "--source", folder / "text", "--output", folder / "pairs.tsv")
    assert result.exit_code == 2
    assert "a bundle for convex_hull; allowed: translation" in result.output


def test_a_beam_that_the_model_does_not_allow_is_said_and_not_taken_for_refused_sentences(folder: Path) -> None:
    (folder / "text").write_text("a\n")
    path = folder / "models/there/1"
    limit = load_bundle(path).manifest.limits.beam_size
    words = ("--source", folder / "text", "--candidates", limit + 1, "--output", folder / "pairs.tsv")
    result = run(path, *words)
    assert result.exit_code == 2
    assert "beam_size" in result.output
    assert not (folder / "pairs.tsv").exists()


def test_nothing_left_to_translate_is_said(folder: Path) -> None:
    (folder / "text").write_text("a b\n")
    words = ("--source", folder / "text", "--held-back", folder / "text", "--output", folder / "pairs.tsv")
    result = run(folder / "models/there", *words)
    assert result.exit_code == 2
    assert "all of 1 sentences are held back or empty" in result.output
