"""The training loop: it learns, stops when told, averages, and goes on after a kill as if nothing had been."""

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from training.checkpoint import average_weights, read_checkpoint, write_checkpoint
from training.models.base import SequenceToSequence
from training.models.translation import TranslationDecoder, TranslationEncoder, TranslationModelConfig
from training.problems.base import Batch
from training.progress import Reporter
from training.trainer import Trainer, TrainingConfig, seed_everything
from training.vocabulary import EOS, UNK

VOCABULARY = 9
BATCHES = 7


class Killed(Exception):  # noqa: N818 - what happened
    """Stands for the process's end."""


class CopyProblem:
    """Sources of three tokens to be said again; an epoch is 7 batches; dies before the update that `killed_before` names."""

    def __init__(self, killed_before: int | None = None) -> None:
        self.killed_before = killed_before
        self.given = 0

    def training_batches(self, epoch: int) -> Iterator[Batch]:
        for index in range(BATCHES):
            self.given += 1
            if self.given == self.killed_before:
                raise Killed
            yield self.batch(1000 * epoch + index)

    def validation_batches(self) -> Iterator[Batch]:
        yield self.batch(999_999)

    @staticmethod
    def batch(seed: int) -> Batch:
        tokens = torch.randint(UNK, VOCABULARY, (16, 3), generator=torch.Generator().manual_seed(seed))
        target = torch.cat([tokens, torch.full((16, 1), EOS)], 1)
        return Batch({"source_tokens": target, "source_lengths": torch.full((16,), 4)}, torch.arange(16), target)


QUICK = {"steps": 200, "schedule": {"peak": 0.03, "warmup_steps": 20}}


def make_trainer(run: Path, problem: CopyProblem, minutes: float | None = None, **changes: Any) -> Trainer:
    sizes = {"embedding_size": 8, "encoder_size": 8, "hidden_size": 16}
    model_config = TranslationModelConfig.model_validate({"kind": "translation", "dropout": 0.2, **sizes})
    config = TrainingConfig.model_validate(
        {"steps": 25, "schedule": {"peak": 0.01, "warmup_steps": 5}, "validate_every": 5, "average": 2, **changes}
    )
    seed_everything(1)
    encoder, decoder = TranslationEncoder(model_config, VOCABULARY), TranslationDecoder(model_config, VOCABULARY)
    reporter = Reporter(Console(file=io.StringIO()))
    return Trainer(config, SequenceToSequence(encoder, decoder), problem, run, reporter=reporter, minutes=minutes)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Metrics without what a clock said."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    clocks = ("seconds", "tokens_per_second", "training_loss")
    return [{name: value for name, value in line.items() if name not in clocks} for line in lines]


@pytest.mark.parametrize("killed_before", [3, 13, 15, 16], ids=lambda step: f"update {step}")
def test_a_run_killed_at_any_point_and_resumed_ends_with_the_same_weights(tmp_path: Path, killed_before: int) -> None:
    make_trainer(tmp_path / "whole", CopyProblem()).train()
    with pytest.raises(Killed):
        make_trainer(tmp_path / "killed", CopyProblem(killed_before)).train()
    resumed = make_trainer(tmp_path / "killed", CopyProblem())
    torch.rand(5)  # the process that resumes has drawn other random numbers
    if resumed.last_checkpoint.is_file():
        resumed.resume()
    else:
        seed_everything(1)
        resumed = make_trainer(tmp_path / "killed", CopyProblem())
    resumed.train()
    expected = read_checkpoint(tmp_path / "whole" / "averaged.pt")
    got = read_checkpoint(tmp_path / "killed" / "averaged.pt")
    assert got["steps"] == expected["steps"]
    for name, weights in expected["model"].items():
        assert torch.equal(got["model"][name], weights), name
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")


def test_a_run_that_has_ended_resumes_to_the_same_end(tmp_path: Path) -> None:
    make_trainer(tmp_path, CopyProblem()).train()
    before = read_metrics(tmp_path)
    again = make_trainer(tmp_path, CopyProblem(killed_before=1))
    again.resume()
    again.train()
    assert read_metrics(tmp_path) == before


def test_it_learns(tmp_path: Path) -> None:
    validation = make_trainer(tmp_path, CopyProblem(), **QUICK, validate_every=50, label_smoothing=0.1).train()
    assert validation.token_accuracy > 90
    losses = [line["loss"] for line in read_metrics(tmp_path) if line["kind"] == "validation"]
    assert losses == sorted(losses, reverse=True)


def test_it_stops_when_validation_no_longer_improves(tmp_path: Path) -> None:
    # A learning rate of next to nothing: the second and third validations cannot be better by chance for ever.
    trainer = make_trainer(tmp_path, CopyProblem(), steps=1000, patience=2, schedule={"peak": 1e-30})
    trainer.train()
    assert trainer.position.step == 15


def test_a_time_limit_ends_it_with_its_average(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, CopyProblem(), minutes=1e-6, steps=1000)
    trainer.train()
    assert trainer.position.step == 1
    assert (tmp_path / "averaged.pt").is_file()


def test_time_is_what_the_clock_says(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, CopyProblem(), minutes=0.5, **QUICK, validate_every=2)
    trainer.clock = itertools.count(step=5.0).__next__  # five seconds at every look
    trainer.train()
    assert trainer.position.step == 4  # four updates, and the validation after two of them
    assert trainer.position.seconds == 30


def test_the_average_is_of_the_best_checkpoints_and_only_they_are_kept(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, CopyProblem(), steps=40)
    validation = trainer.train()
    lines = read_metrics(tmp_path)
    best = sorted((line["loss"], line["step"]) for line in lines if line["kind"] == "validation")[:2]
    assert trainer.position.kept == best
    kept = {int(file.stem.removeprefix("step-")): file for file in (tmp_path / "checkpoints").glob("step-*.pt")}
    assert set(kept) == {step for _, step in best}
    averaged = read_checkpoint(tmp_path / "averaged.pt")
    expected = average_weights([read_checkpoint(kept[step])["model"] for step in averaged["steps"]])
    for name, weights in averaged["model"].items():
        assert torch.equal(weights, expected[name])
    assert validation.loss <= best[0][0]
    assert lines[-1]["kind"] == "averaged"


def test_averaging_takes_the_mean_of_numbers_and_leaves_counters_alone() -> None:
    first = {"weight": torch.tensor([1.0, 4.0]), "count": torch.tensor(3)}
    second = {"weight": torch.tensor([3.0, 0.0]), "count": torch.tensor(5)}
    mean = average_weights([first, second])
    assert torch.equal(mean["weight"], torch.tensor([2.0, 2.0]))
    assert mean["count"] == 3


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_checkpoint({"step": 1}, path)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        write_checkpoint({"step": lambda: 2}, path)
    assert read_checkpoint(path) == {"step": 1}


def test_bfloat16_learns_as_well(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, CopyProblem(), **QUICK, validate_every=200, precision="bfloat16")
    assert trainer.train().token_accuracy > 90
    assert all(weights.dtype == torch.float32 for weights in trainer.model.parameters())


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_weights_are_spoilt(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, CopyProblem())
    with torch.no_grad():
        trainer.model.decoder.readout.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="step 0 is not finite"):
        trainer.train()
