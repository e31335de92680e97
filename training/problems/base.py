"""What a problem is to the trainer: a supply of batches, and held-back ones; and what it may be besides."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Sources and their targets, padded.

    Attributes:
        inputs: the encoder's inputs by their ONNX names (docs/architecture.md), N sources on axis 0.
        source: (B,) int64, which source each target belongs to, so that five captions share one image.
        target: (B, T) int64, tokens then `eos`, padded with `pad`; `bos` is not in it.
    """

    inputs: dict[str, Tensor]
    source: Tensor
    target: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move every tensor to `device`."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.source.to(device), self.target.to(device))


class Problem(Protocol):
    """A task with its data; made once for a run from its recipe and the data folder."""

    def training_batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch; the same epoch and seed give the same batches, so that a run can resume.

        Endless problems (fresh instances at every step) define an epoch as a fixed number of batches.
        """

    def validation_batches(self) -> Iterator[Batch]:
        """Yield held-back batches, the same ones at every call."""


@runtime_checkable
class ScoredProblem(Problem, Protocol):
    """A problem that can say how good answers to its held-back sources are; checkpoints may be chosen by that."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that `score` returns; more is better."""

    def longest_answer(self, inputs: Mapping[str, Tensor]) -> int:
        """Return the most tokens that an answer to one of a batch's sources may have, `eos` counted."""

    def score(self, answers: Sequence[Sequence[int]]) -> dict[str, float]:
        """Score an answer to each held-back source, in the order of `validation_batches`, without `eos`."""


@runtime_checkable
class TextProblem(Problem, Protocol):
    """A problem whose targets are words, so that answers can be worth more or less (training/rewards.py)."""

    def words(self, targets: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        """Return the words of each target; special ids leave no trace."""

    def training_references(self) -> Iterable[Sequence[Sequence[int]]]:
        """Return the targets of each training source, as ids."""
