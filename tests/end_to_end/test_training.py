"""`beamstep train`: from a recipe to a run folder whose model has learnt, and what the command says when it cannot."""

import shutil
from pathlib import Path

import pytest
import torch
import typer
import yaml
from typer.testing import CliRunner

from training.command import train
from training.config import RecipeError
from training.decoding import search
from training.evaluate import main
from training.problems.translation import TranslationProblem
from training.recipe import find_recipe
from training.run import Run, load_run, newest_weights

application = typer.Typer()
application.command()(train)


def run_command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(application, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def short_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's recipe, four steps long."""
    recipe = yaml.safe_load(find_recipe("reverse").read_text(encoding="utf-8"))
    recipe["problem"]["training_pairs"] = 100
    recipe["training"] |= {"steps": 4, "validate_every": 2}
    path = tmp_path_factory.mktemp("recipe") / "short.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def learnt(toy: Path) -> Run:
    """The packaged toy, trained as its recipe says."""
    return load_run(toy)


def translate(run: Run, text: str) -> str:
    problem = run.problem
    assert isinstance(problem, TranslationProblem)
    tokens = torch.tensor([[*problem.tokenizers.source.encode(text), 2]])
    inputs = {"source_tokens": tokens, "source_lengths": torch.tensor([tokens.shape[1]])}
    (answer,) = search(run.model, inputs, max_length=20)
    return problem.tokenizers.target.decode(answer)


def test_the_toy_is_learnt(learnt: Run) -> None:
    assert translate(learnt, "a b c d") == "d c b a"
    assert translate(learnt, "h") == "h"
    problem = learnt.problem
    assert isinstance(problem, TranslationProblem)
    pairs = problem.pairs.validation_text
    assert sum(translate(learnt, pair.source) == pair.target for pair in pairs) >= 0.95 * len(pairs)


def test_a_loaded_run_is_ready_for_export(learnt: Run) -> None:
    assert learnt.recipe.task == "translation"
    assert not learnt.model.training
    assert set(learnt.tokenizers) == {"source.model", "target.model"}
    assert all(path.is_file() for path in learnt.tokenizers.values())


def test_a_run_without_its_average_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml: missing; allowed: the folder of a run that has ended"):
        load_run(tmp_path)


def test_a_folder_that_holds_a_run_asks_whether_to_go_on(short_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_command(short_recipe, "--run", run)[0] == 0
    code, output = run_command(short_recipe, "--run", run)
    assert code == 2
    assert "holds a run already" in output
    weights = (run / "averaged.pt").read_bytes()
    assert run_command(short_recipe, "--run", run, "--resume")[0] == 0
    assert run_command(short_recipe, "--run", run, "--restart")[0] == 0
    assert (run / "averaged.pt").read_bytes() == weights  # same seed, same weights


def test_another_recipe_cannot_go_on_with_a_run(short_recipe: Path, tmp_path: Path) -> None:
    assert run_command(short_recipe, "--run", tmp_path / "run")[0] == 0
    code, output = run_command("reverse", "--run", tmp_path / "run", "--resume")
    assert code == 2
    assert "differs from" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "neither a file nor a packaged recipe"),
        (["translation-en-de"], "--data: missing; a problem of kind 'translation' needs its data folder"),
        (["captioning-en", "--restart"], "--data: missing"),
        (["translation-en-de", "--data", "/nonexistent"], "--data: /nonexistent is no folder"),
        (["translation-en-de", "--data", "."], "cannot be read"),
        (["hull", "--run", "/dev/null/run"], "Not a directory"),
        (["reverse", "--resume", "--restart"], "both given"),
    ],
)
def test_a_mistake_is_said_in_a_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    code, output = run_command("--run", tmp_path / "run", *arguments)
    assert code == 2
    assert said in output
    assert "Traceback" not in output


def test_a_restart_that_cannot_begin_throws_nothing_away(tmp_path: Path) -> None:
    weights = tmp_path / "averaged.pt"
    weights.write_bytes(b"weeks of training")
    for arguments in (["--restart"], ["--restart", "--data", "/nonexistent"], []):
        assert run_command("translation-en-de", "--run", tmp_path, *arguments)[0] == 2
    code, output = run_command("reverse", "--run", tmp_path)
    assert (code, "holds a run already" in output) == (2, True)
    assert weights.read_bytes() == b"weeks of training"


def test_a_run_that_ended_and_lost_its_checkpoints_cannot_go_on(short_recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(short_recipe.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "averaged.pt").touch()
    code, output = run_command(short_recipe, "--run", tmp_path, "--resume")
    assert (code, "kept no checkpoint" in output) == (2, True)


def test_resuming_a_run_killed_before_its_first_checkpoint_says_so(short_recipe: Path, tmp_path: Path) -> None:
    code, output = run_command(short_recipe, "--run", tmp_path, "--resume")
    assert code == 0
    assert "no checkpoint to go on from: beginning at step 0" in output
    averaged = next(line for line in output.splitlines() if "averaged at step" in line)
    assert "training loss" not in averaged


def test_weights_that_are_cut_short_or_of_another_recipe_are_refused(learnt: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(learnt.path, run)
    recipe = run / "recipe.yaml"
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace("hidden_size: 64", "hidden_size: 48"), encoding="utf-8"
    )
    with pytest.raises(RecipeError, match=r"averaged\.pt: has weights of another recipe"):
        load_run(run)
    whole = (run / "averaged.pt").read_bytes()
    for length in (0, 1000, len(whole) - 100):
        (run / "averaged.pt").write_bytes(whole[:length])
        with pytest.raises(RecipeError, match=r"averaged\.pt: is no whole checkpoint"):
            load_run(run)


def test_a_run_under_way_is_looked_at_by_its_last_checkpoint(learnt: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(learnt.path, run)
    assert newest_weights(run) == run / "averaged.pt"
    (run / "averaged.pt").unlink()
    with pytest.raises(RecipeError, match=r"averaged\.pt: missing"):
        load_run(run)
    under_way = load_run(run, weights=newest_weights(run))
    assert translate(under_way, "a b c d") == "d c b a"


def test_a_run_s_translations_can_be_looked_at(learnt: Run) -> None:
    look = typer.Typer()
    look.command()(main)
    result = CliRunner().invoke(look, [str(learnt.path), "--show", "1"])
    assert result.exit_code == 0, result.output
    source, translation, reference, score = result.output.splitlines()
    assert translation.removeprefix("  -> ") == reference.removeprefix("   = ") == " ".join(reversed(source.split()))
    assert "averaged.pt: greedy, BLEU = " in score


def test_a_run_that_began_with_another_goes_on_without_it_and_is_not_thrown_away_for_want_of_it(
    short_recipe: Path, tmp_path: Path
) -> None:
    first, second, recipe = tmp_path / "first", tmp_path / "second", tmp_path / "second.yaml"
    assert run_command(short_recipe, "--run", first)[0] == 0
    content = yaml.safe_load(short_recipe.read_text(encoding="utf-8"))
    content["start_from"] = {"run": "first", "tokenizers": ["source.model", "target.model"]}
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
    status, output = run_command(recipe, "--run", second)
    assert status == 0, output
    assert "weights of first" in output
    shutil.rmtree(first)
    status, output = run_command(recipe, "--run", second, "--resume")
    assert status == 0, output
    status, output = run_command(recipe, "--run", second, "--restart")
    assert status == 2
    assert "holds no finished run" in output.replace("\n", " ")
    assert (second / "averaged.pt").is_file()
    assert (second / "checkpoints" / "last.pt").is_file()
