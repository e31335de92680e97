"""Point sets as the pointing problems share them: seeded instances, padded encoder inputs, targets as token ids."""

from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from training.config import ProblemConfig
from training.problems.base import Batch
from training.vocabulary import EOS, FIRST_POSITION, PAD

Points = NDArray[np.float64]
"""(..., P, 2) coordinates, x then y."""

TRAINING, VALIDATION = 0, 1
"""The two streams of instances: no validation instance is ever drawn in training."""


def instance_generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """Return the generator of one epoch (or one validation group), so that any epoch can be drawn without those before."""
    return np.random.default_rng([seed, stream, index])


def uniform_points(generator: np.random.Generator, count: int, points: int) -> Points:
    """Draw `count` sets of `points` points, uniform in the unit square: (count, points, 2), as Vinyals et al. 2015."""
    return generator.random((count, points, 2))


class PointSetConfig(ProblemConfig):
    """How many points a set has, how many sets a batch, and how many batches an epoch.

    A batch holds sets of one size, about `points_per_batch` points in all, so that every step costs the same.

    Attributes:
        smallest: fewest points of a set.
        largest: most points of a set.
        small_first_epochs: epochs at the start that draw a batch's size with each octave as likely as the next; those after
            them draw it evenly, so that most sets are large.
    """

    smallest: int = Field(ge=3)
    largest: int = Field(ge=3)
    small_first_epochs: int = Field(default=0, ge=0)
    points_per_batch: int = Field(default=2048, ge=1)
    batches_per_epoch: int = Field(default=250, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest {self.smallest} is above largest {self.largest}")
        return self

    def draw_size(self, generator: np.random.Generator, epoch: int) -> int:
        """Draw the size of one batch's sets."""
        if epoch >= self.small_first_epochs:
            return int(generator.integers(self.smallest, self.largest, endpoint=True))
        low, high = np.log(self.smallest), np.log(self.largest + 1)
        return min(self.largest, int(np.exp(generator.uniform(low, high))))

    def sets_per_batch(self, size: int) -> int:
        """Return how many sets of `size` points make one batch."""
        return max(1, self.points_per_batch // size)

    def sizes_to_validate(self, groups: int = 4) -> list[int]:
        """Return up to `groups` sizes spread evenly in the logarithm from smallest to largest, both included."""
        sizes = np.exp(np.linspace(np.log(self.smallest), np.log(self.largest), groups))
        return sorted({round(size) for size in sizes})


class FreshPointSets:
    """Supplies uniform point sets, fresh at every step, with the answers that `solve` gives them."""

    def __init__(self, config: PointSetConfig, seed: int, solve: Callable[[Points], Sequence[Sequence[int]]]) -> None:
        """Make the supply; `solve` takes (B, P, 2) and returns B sequences of point indices."""
        self.config = config
        self.seed = seed
        self.solve = solve

    def training_batches(self, epoch: int) -> Iterator[Batch]:
        """Yield fresh instances; every set of a batch has the same size."""
        generator = instance_generator(self.seed, TRAINING, epoch)
        for _ in range(self.config.batches_per_epoch):
            yield self._batch(generator, self.config.draw_size(generator, epoch))

    def validation_batches(self) -> Iterator[Batch]:
        """Yield one batch for each of a few sizes."""
        for index, size in enumerate(self.config.sizes_to_validate()):
            yield self._batch(instance_generator(self.seed, VALIDATION, index), size)

    def _batch(self, generator: np.random.Generator, size: int) -> Batch:
        points = uniform_points(generator, self.config.sets_per_batch(size), size)
        return pointing_batch(points, self.solve(points))


def order_by_x(points: Points) -> NDArray[np.int64]:
    """Return the indices (B, P) of each set's points from left to right, ties from low to high: no index decides."""
    return np.lexsort((points[..., 1], points[..., 0]), axis=-1)


def pointing_batch(points: Points | Sequence[Points], targets: Sequence[Sequence[int]]) -> Batch:
    """Pad point sets and their targets into one batch.

    Args:
        points: B sets, each (P, 2); sizes may differ.
        targets: B sequences of point indices, `eos` not in them.

    Returns:
        inputs `points` (B, S, 2) float64 and `point_counts` (B,), padded with 0; target (B, T) in token ids, ending in `eos`.
    """
    counts = [len(one) for one in points]
    padded = torch.zeros(len(points), max(counts), 2, dtype=torch.float64)
    for row, one in zip(padded, points, strict=True):
        row[: len(one)] = torch.from_numpy(np.asarray(one, dtype=np.float64))
    inputs = {"points": padded, "point_counts": torch.tensor(counts)}
    return Batch(inputs, torch.arange(len(points)), _target_tokens(targets))


def _target_tokens(targets: Sequence[Sequence[int]]) -> Tensor:
    tokens = np.full((len(targets), max(len(target) for target in targets) + 1), PAD, dtype=np.int64)
    for row, target in zip(tokens, targets, strict=True):
        row[: len(target)] = np.asarray(target, dtype=np.int64) + FIRST_POSITION
        row[len(target)] = EOS
    return torch.from_numpy(tokens)
