"""The one training loop: batches in, averaged weights out; a killed run goes on exactly where its last checkpoint was."""

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, field_validator

from training.checkpoint import (
    Weights,
    average_weights,
    blend_weights,
    random_state,
    read_checkpoint,
    restore_random_state,
    write_checkpoint,
)
from training.config import Config, RecipeError
from training.decoding import search
from training.loss import count_errors
from training.models.base import SequenceToSequence
from training.objective import CrossEntropyConfig, ObjectiveConfig
from training.optimizer import OptimizerKind, make_optimizer
from training.problems.base import Batch, Problem, ScoredProblem
from training.progress import Reporter
from training.schedule import ScheduleConfig
from training.vocabulary import PAD

BLENDS = (0.4, 0.55, 0.7, 0.85)
"""How far from the first weights to the average those are that `blend_with_start` tries."""


class SelectionConfig(Config):
    """What checkpoints are chosen by; the name of the metric alone may stand for the section.

    Attributes:
        metric: `loss`, the cross-entropy of held-back targets; or a metric of the problem's, such as `bleu`, of decoded answers.
        beam_size: of that decoding; 1 is greedy.
        length_penalty: of that decoding.
    """

    metric: str = "loss"
    beam_size: int = Field(default=1, ge=1)
    length_penalty: float = Field(default=0.0, ge=0)

    @property
    def decodes(self) -> bool:
        """Whether a validation decodes."""
        return self.metric != "loss"


class TrainingConfig(Config):
    """The `training` section of a recipe: optimisation, validation, and when to stop.

    Attributes:
        steps: most updates of the run; with 0 the weights that it begins with are validated and written.
        objective: see training/objective.py.
        optimizer: see training/optimizer.py.
        schedule: the learning rate.
        weight_decay: on weight matrices alone.
        gradient_norm: gradients longer than this are cut to it (Pascanu et al. 2013).
        label_smoothing: see training/loss.py.
        precision: `bfloat16` runs products in bfloat16 where the device multiplies them natively (elsewhere they would be many
            times slower than in float32, and float32 it is); weights, softmax and loss stay in float32.
        validate_every: steps between validations; each also writes a checkpoint.
        select_by: what the best checkpoints are best by.
        patience: the run stops after this many validations without a better one; None: never.
        average: how many of the best validated checkpoints are kept to be averaged (Vaswani et al. 2017, section 6.1).
        blend_with_start: whether weights between those the run began with and the average are tried too; what fine-tuning gained
            and what it forgot lie on that line (Wortsman et al. 2022, arXiv:2109.01903).
    """

    steps: int = Field(ge=0)
    objective: ObjectiveConfig = CrossEntropyConfig(kind="cross_entropy")
    optimizer: OptimizerKind = "adamw"
    schedule: ScheduleConfig = ScheduleConfig()
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_norm: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: int = Field(default=500, ge=1)
    select_by: SelectionConfig = SelectionConfig()
    patience: int | None = Field(default=None, ge=1)
    average: int = Field(default=5, ge=1)
    blend_with_start: bool = False

    @field_validator("select_by", mode="before")
    @classmethod
    def _metric_alone(cls, selection: Any) -> Any:
        """Take a name for the metric."""
        return {"metric": selection} if isinstance(selection, str) else selection


class Validation(NamedTuple):
    """What held-back batches say: nats a token, share of tokens that were the likeliest, in percent; metrics of decoded answers."""

    loss: float
    token_accuracy: float
    perplexity: float
    metrics: Mapping[str, float] = MappingProxyType({})

    def line(self) -> dict[str, float]:
        """Return all of it under its names."""
        figures = {"loss": self.loss, "token_accuracy": self.token_accuracy, "perplexity": self.perplexity}
        return {**figures, **{name: round(value, 3) for name, value in self.metrics.items()}}


@dataclass
class Position:
    """How far a run is; part of every checkpoint.

    Attributes:
        step: updates made.
        epoch: the epoch under way, from 0.
        batch: batches of it already used.
        seconds: training time of all processes of this run, up to here.
        best_loss: the lowest validation loss; minus the metric where checkpoints are chosen by one.
        validations_since_best: since then.
        kept: (validation loss, or minus the metric, step) of each checkpoint kept for the average, best first.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    validations_since_best: int = 0
    kept: list[tuple[float, int]] = field(default_factory=list)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may draw from it
    torch.manual_seed(seed)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether the device has instructions for products of bfloat16: a GPU, or a CPU with AVX-512 BF16 or AMX."""
    return device.type != "cpu" or bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Trainer:
    """One run of one model on one problem, in one folder.

    The folder gets `checkpoints/last.pt` (everything, to go on from), `checkpoints/step-N.pt` (the kept weights),
    `metrics.jsonl`, and at the end `averaged.pt`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: SequenceToSequence,
        problem: Problem,
        run: Path,
        *,
        reporter: Reporter,
        minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put the model on the device; `clock` counts the seconds that `minutes` and the learning rate go by."""
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.problem = problem
        self.run = run
        self.reporter = reporter
        self.limit_s = None if minutes is None else minutes * 60
        self.clock = clock
        self.position = Position()
        self.optimizer = make_optimizer(config.optimizer, model, config.weight_decay)
        self.objective = config.objective.build(problem, config.label_smoothing)
        self._check_selection()
        self.precision = config.precision if multiplies_bfloat16(self.device) else "float32"

    def train(self) -> Validation:
        """Train to the end (steps, patience or time limit), then write `averaged.pt`; return how that validates."""
        if self.config.blend_with_start and self.position.step == 0:
            write_checkpoint({"model": self._weights()}, self._start_file)
        self.reporter.start(self.config.steps, self.position.step)
        try:
            batches = self._batches()
            while not self._done():
                began = self.clock()
                self._update(next(batches))
                self.position.seconds += self.clock() - began
                if self.position.step % self.config.validate_every == 0 or self._done():
                    self._validate_and_save()
            return self._finish()
        finally:
            self.reporter.stop()

    def resume(self) -> None:
        """Go on from `checkpoints/last.pt`: weights, optimiser, schedule, random generators, place in the data."""
        checkpoint = read_checkpoint(self.last_checkpoint)
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        position = checkpoint["position"]
        self.position = Position(**{**position, "kept": [tuple(pair) for pair in position["kept"]]})
        restore_random_state(checkpoint["random"])
        self._forget_later_metrics()

    @property
    def _start_file(self) -> Path:
        """The weights that the run began with, where they are needed at its end."""
        return self.run / "checkpoints" / "start.pt"

    @property
    def last_checkpoint(self) -> Path:
        """The file to go on from."""
        return self.run / "checkpoints" / "last.pt"

    def _batches(self) -> Iterator[Batch]:
        """Yield batches epoch after epoch, from the position on, keeping the position's epoch and batch up to date."""
        while True:
            remaining = itertools.islice(self.problem.training_batches(self.position.epoch), self.position.batch, None)
            used = self.position.batch
            for batch in remaining:
                self.position.batch += 1
                yield batch
            assert self.position.batch > used or used > 0, "an epoch without batches"
            self.position.epoch += 1
            self.position.batch = 0

    def _update(self, batch: Batch) -> None:
        """Make one update of the weights."""
        self.model.train()
        learning_rate = self.config.schedule.learning_rate(self.position.step, self._progress())
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        batch = batch.to(self.device)
        with self._autocast():
            loss = self.objective(self.model, batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"the gradient of step {self.position.step} is not finite; a lower learning rate may help"
            )
        self.optimizer.step()
        self.position.step += 1
        tokens = int((batch.target != PAD).sum())
        self.reporter.update(self.position.step, self.position.epoch, loss.item(), learning_rate, tokens)

    def _progress(self) -> float:
        """Return how much of the run's steps, or of its time limit, is used, whichever is more; 0 to 1."""
        by_time = 0.0 if self.limit_s is None else self.position.seconds / self.limit_s
        return max(self.position.step / max(self.config.steps, 1), by_time)

    def _autocast(self) -> AbstractContextManager[Any]:
        """Return the context that products run in."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def validate(self) -> Validation:
        """Measure the model on the held-back batches, in float32."""
        self.model.eval()
        with torch.inference_mode():
            batches = (batch.to(self.device) for batch in self.problem.validation_batches())
            counts = [
                count_errors(self.model(batch.inputs, batch.source, batch.target), batch.target) for batch in batches
            ]
        tokens = sum(count.tokens for count in counts)
        loss = sum(count.cross_entropy for count in counts) / tokens
        accuracy = 100 * sum(count.correct for count in counts) / tokens
        return Validation(loss, accuracy, math.exp(min(loss, 50.0)), self._score_answers())

    def _score_answers(self) -> dict[str, float]:
        """Decode the held-back sources and return the problem's metrics; nothing where checkpoints are chosen by loss."""
        selection, problem = self.config.select_by, self.problem
        if not selection.decodes:
            return {}
        assert isinstance(problem, ScoredProblem)
        batches = (batch.to(self.device) for batch in problem.validation_batches())
        answers = [
            answer
            for batch in batches
            for answer in search(
                self.model,
                batch.inputs,
                problem.longest_answer(batch.inputs),
                beam_size=selection.beam_size,
                length_penalty=selection.length_penalty,
            )
        ]
        return problem.score(answers)

    def _check_selection(self) -> None:
        """Raise RecipeError where the problem does not have the metric that checkpoints are to be chosen by."""
        metrics = self.problem.metrics if isinstance(self.problem, ScoredProblem) else ()
        if self.config.select_by.decodes and self.config.select_by.metric not in metrics:
            allowed = ", ".join(("loss", *metrics))
            raise RecipeError(
                f"training.select_by.metric: given {self.config.select_by.metric!r}; allowed for this problem: {allowed}"
            )

    def _badness(self, validation: Validation) -> float:
        """Return what the best checkpoints have least of: the loss, or minus the metric."""
        metric = self.config.select_by.metric
        return -validation.metrics[metric] if self.config.select_by.decodes else validation.loss

    def _validate_and_save(self) -> None:
        """Validate, keep the weights if they are among the best, and write everything needed to go on."""
        began = self.clock()
        validation = self.validate()
        badness = self._badness(validation)
        self._keep(badness)
        if badness < self.position.best_loss:
            self.position.best_loss = badness
            self.position.validations_since_best = 0
        else:
            self.position.validations_since_best += 1
        self.position.seconds += self.clock() - began
        self._record("validation", validation)
        content = {
            "model": self._weights(),
            "optimizer": self.optimizer.state_dict(),
            "position": asdict(self.position),
            "random": random_state(),
        }
        write_checkpoint(content, self.last_checkpoint)
        self._forget_unkept()

    def _keep(self, badness: float) -> None:
        """Write the weights if they validate among the best."""
        kept = sorted([*self.position.kept, (badness, self.position.step)])[: self.config.average]
        if (badness, self.position.step) in kept:
            write_checkpoint({"model": self._weights()}, self._kept_file(self.position.step))
        self.position.kept = kept

    def _forget_unkept(self) -> None:
        """Delete kept weights that better ones replaced; after `last.pt` no longer names them."""
        names = {self._kept_file(step).name for _, step in self.position.kept}
        for file in (self.run / "checkpoints").glob("step-*.pt"):
            if file.name not in names:
                file.unlink()

    def _kept_file(self, step: int) -> Path:
        return self.run / "checkpoints" / f"step-{step:08d}.pt"

    def _done(self) -> bool:
        """Tell whether steps, time or patience have run out."""
        position, patience = self.position, self.config.patience
        out_of_time = self.limit_s is not None and position.seconds >= self.limit_s
        out_of_patience = patience is not None and position.validations_since_best >= patience
        return position.step >= self.config.steps or out_of_time or out_of_patience

    def _finish(self) -> Validation:
        """Write the mean of the best kept checkpoints, as many as validate best; return how it validates."""
        if not self.position.kept:
            self._validate_and_save()
        steps = [step for _, step in self.position.kept]
        checkpoints = [read_checkpoint(self._kept_file(step))["model"] for step in steps]
        means = [average_weights(checkpoints[: count + 1]) for count in range(len(checkpoints))]
        validations = [self._validate_weights(weights) for weights in means]
        best = min(range(len(means)), key=lambda index: self._badness(validations[index]))
        weights, validation, share = self._blend(means[best], validations[best])
        write_checkpoint({"model": weights, "steps": steps[: best + 1], "share": share}, self.run / "averaged.pt")
        self.model.load_state_dict(weights)
        self._record("averaged", validation)
        return validation

    def _blend(self, weights: Weights, validation: Validation) -> tuple[Weights, Validation, float]:
        """Return the weights between the run's first and these that validate best, how they do, and how far along they are."""
        best = weights, validation, 1.0
        if self.config.blend_with_start:
            start = read_checkpoint(self._start_file)["model"]
            for share in BLENDS:
                blended = blend_weights(start, weights, share)
                validation = self._validate_weights(blended)
                self._record("blended", validation)
                if self._badness(validation) < self._badness(best[1]):
                    best = blended, validation, share
        return best

    def _validate_weights(self, weights: Weights) -> Validation:
        """Measure other weights, putting them into the model."""
        self.model.load_state_dict(weights)
        return self.validate()

    def _weights(self) -> Weights:
        """Return a copy of the weights on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}

    def _forget_later_metrics(self) -> None:
        """Drop the average's line and those of steps after the checkpoint's: they are made again."""
        file = self.run / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if line["kind"] == "validation" and line["step"] <= self.position.step]
        file.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")

    def _record(self, kind: str, validation: Validation) -> None:
        """Add a line to metrics.jsonl and report it."""
        position = self.position
        place = {"step": position.step, "epoch": position.epoch, "seconds": round(position.seconds, 1)}
        means = self.reporter.training_means() if kind == "validation" else {}  # the average was not trained on its own
        line = {"kind": kind, **place, **means, **validation.line()}
        with (self.run / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.reporter.validated(line, validation.metrics.keys())
