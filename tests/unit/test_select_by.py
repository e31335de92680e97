"""Checkpoints chosen by what is decoded; and a run of rewards that goes on after a kill as if nothing had been."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.unit.test_trainer import CopyProblem, Killed, make_trainer, read_metrics
from training.checkpoint import read_checkpoint
from training.config import RecipeError
from training.progress import Reporter
from training.trainer import BLENDS, TrainingConfig, Validation

REWARD = {"objective": {"kind": "reward", "samples": 3, "max_length": 5}, "steps": 12, "validate_every": 4}


class ScoredCopies(CopyProblem):
    """Says how many of the tokens of what is to be copied stand in the answer."""

    metrics = ("copied", "length")

    def longest_answer(self, inputs: Any) -> int:
        return 5

    def score(self, answers: list[list[int]]) -> dict[str, float]:
        truth = self.batch(999_999).target[:, :3].tolist()
        copied = sum(
            a == b for answer, right in zip(answers, truth, strict=True) for a, b in zip(answer, right, strict=False)
        )
        return {"copied": 100 * copied / (3 * len(truth)), "length": sum(map(len, answers)) / len(answers)}

    def words(self, targets: list[list[int]]) -> list[tuple[str, ...]]:
        return [tuple(str(token) for token in target if token > 2) for target in targets]

    def training_references(self) -> list[list[list[int]]]:
        return [[target] for target in self.batch(0).target.tolist()]


def test_the_best_checkpoints_are_those_of_the_metric(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ScoredCopies(), select_by="copied", steps=40)
    validation = trainer.train()
    lines = [line for line in read_metrics(tmp_path) if line["kind"] == "validation"]
    best = sorted((-line["copied"], line["step"]) for line in lines)[:2]
    assert trainer.position.kept == [(pytest.approx(value, abs=1e-3), step) for value, step in best]
    assert validation.metrics["copied"] >= -best[0][0] - 1e-3
    assert {"copied", "length", "loss"} <= set(lines[0])
    assert {file.name for file in (tmp_path / "checkpoints").glob("step-*.pt")} == {
        f"step-{step:08d}.pt" for _, step in best
    }


def test_patience_waits_for_the_metric(tmp_path: Path) -> None:
    trainer = make_trainer(
        tmp_path, ScoredCopies(), select_by={"metric": "copied"}, steps=1000, patience=2, schedule={"peak": 1e-30}
    )
    trainer.train()
    assert trainer.position.step == 15


def test_a_metric_that_the_problem_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="given 'bleu'; allowed for this problem: loss, copied, length"):
        make_trainer(tmp_path, ScoredCopies(), select_by="bleu")
    with pytest.raises(RecipeError, match=r"allowed for this problem: loss$"):
        make_trainer(tmp_path, CopyProblem(), select_by="copied")


def test_the_metrics_are_told_with_a_validation() -> None:
    told = io.StringIO()
    validation = Validation(2.0, 50.0, 7.4, {"bleu_4": 20.333})
    line = {"kind": "validation", "step": 3, **validation.line()}
    Reporter(Console(file=told)).validated(line, validation.metrics.keys())
    assert "token accuracy 50.0 %, bleu_4 20.33" in told.getvalue()


@pytest.mark.parametrize("killed_before", [6, 9])
def test_a_killed_run_of_rewards_ends_with_the_same_weights(tmp_path: Path, killed_before: int) -> None:
    make_trainer(tmp_path / "whole", ScoredCopies(), **REWARD).train()
    with pytest.raises(Killed):
        make_trainer(tmp_path / "killed", ScoredCopies(killed_before), **REWARD).train()
    resumed = make_trainer(tmp_path / "killed", ScoredCopies(), **REWARD)
    torch.rand(5)
    resumed.resume()
    resumed.train()
    expected, got = (read_checkpoint(tmp_path / name / "averaged.pt") for name in ("whole", "killed"))
    for name, weights in expected["model"].items():
        assert torch.equal(got["model"][name], weights), name
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")


def test_rewards_improve_what_is_decoded(tmp_path: Path) -> None:
    schedule = {"peak": 0.02, "warmup_steps": 5}
    objective = {"kind": "reward", "samples": 8, "max_length": 5}
    trainer = make_trainer(
        tmp_path,
        ScoredCopies(),
        objective=objective,
        steps=60,
        validate_every=60,
        schedule=schedule,
        select_by="copied",
    )
    before = trainer.validate()
    assert trainer.train().metrics["copied"] > before.metrics["copied"]


def test_a_recipe_without_either_is_what_it_was() -> None:
    config = TrainingConfig(steps=1)
    assert config.objective.kind == "cross_entropy"
    assert config.select_by.metric == "loss"


def test_weights_between_the_first_and_the_average_are_tried_and_the_best_are_taken(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ScoredCopies(), select_by="copied", blend_with_start=True, average=1)
    start = {name: weights.clone() for name, weights in trainer.model.state_dict().items()}
    validation = trainer.train()
    lines = read_metrics(tmp_path)
    blended = [line["copied"] for line in lines if line["kind"] == "blended"]
    assert len(blended) == len(BLENDS)
    assert validation.metrics["copied"] == pytest.approx(
        max(line["copied"] for line in lines if line["kind"] != "averaged"), abs=1e-3
    )
    averaged = read_checkpoint(tmp_path / "averaged.pt")
    last = read_checkpoint(tmp_path / "checkpoints" / f"step-{averaged['steps'][0]:08d}.pt")["model"]
    for name, weights in averaged["model"].items():
        assert torch.allclose(weights, torch.lerp(start[name], last[name], averaged["share"]))


def test_a_run_that_blends_goes_on_after_its_end_and_after_a_kill(tmp_path: Path) -> None:
    changes = {"select_by": "copied", "blend_with_start": True}
    make_trainer(tmp_path / "whole", ScoredCopies(), **changes).train()
    with pytest.raises(Killed):
        make_trainer(tmp_path / "killed", ScoredCopies(13), **changes).train()
    for run in ("killed", "whole"):
        resumed = make_trainer(tmp_path / run, ScoredCopies(), **changes)
        resumed.resume()
        resumed.train()
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")
