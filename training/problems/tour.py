"""Planar travelling salesman: the shortest closed tour (Vinyals et al. 2015, section 3.3), learnt from good tours."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from training.config import Task
from training.problems.base import Batch
from training.problems.points import (
    TRAINING,
    VALIDATION,
    Points,
    PointSetConfig,
    instance_generator,
    order_by_x,
    pointing_batch,
    uniform_points,
)
from training.problems.tour_solvers import Tours, optimal_tours, short_tours

POOL = 2
"""The stream of instances (points.py) that the pools of solved sets are drawn from."""
SOLVED_AT_ONCE = 256
"""Sets solved together: enough to pay for NumPy's calls, few enough for the table of optimal_tours to fit into memory."""


class TourConfig(PointSetConfig):
    """Uniform point sets and their tours.

    Solved sets are too dear to be fresh at every step: `solved_per_size` of each size are solved once, kept in the run
    folder, and shown in one of the eight symmetries of the square, under which a tour stays as short.

    Attributes:
        solved_per_size: point sets of each size in the pool.
        exact_up_to: sizes up to this get optimal tours, larger ones those of an iterated local search.
        search_ms: of the local search, for each set.
    """

    task: ClassVar[Task] = "tour"
    kind: Literal["tour"] = "tour"
    solved_per_size: int = Field(default=10_000, ge=1)
    exact_up_to: int = Field(default=11, ge=3, le=13)
    search_ms: float = Field(default=10.0, gt=0)

    def build(self, data: Path | None, run: Path, seed: int) -> "TourProblem":  # noqa: ARG002 - makes its own data
        """Make the problem; the pools are solved, or read from `run`, when batches are first asked for."""
        return TourProblem(self, run, seed)


class TourProblem:
    """Supplies point sets with their tours."""

    def __init__(self, config: TourConfig, run: Path, seed: int) -> None:
        self.config = config
        self.run = run
        self.seed = seed
        self._pools: dict[int, tuple[Points, Tours]] = {}

    def training_batches(self, epoch: int) -> Iterator[Batch]:
        """Yield sets from the pools, each in a random symmetry; every set of a batch has the same size."""
        generator = instance_generator(self.seed, TRAINING, epoch)
        for _ in range(self.config.batches_per_epoch):
            size = self.config.draw_size(generator, epoch)
            points, tours = self._pool(size)
            chosen = generator.integers(len(points), size=self.config.sets_per_batch(size))
            shown = apply_symmetries(points[chosen], generator.integers(8, size=len(chosen)))
            yield _batch(shown, tours[chosen])

    def validation_batches(self) -> Iterator[Batch]:
        """Yield one batch for each of a few sizes."""
        for index, size in enumerate(self.config.sizes_to_validate()):
            generator = instance_generator(self.seed, VALIDATION, index)
            points = uniform_points(generator, self.config.sets_per_batch(size), size)
            yield _batch(points, self._solve(points))

    def _pool(self, size: int) -> tuple[Points, Tours]:
        """Return the solved sets of a size: points (N, size, 2) and tours (N, size)."""
        if size not in self._pools:
            self._pools[size] = self._read_or_solve_pool(size)
        return self._pools[size]

    def _read_or_solve_pool(self, size: int) -> tuple[Points, Tours]:
        generator = instance_generator(self.seed, POOL, size)
        points = uniform_points(generator, self.config.solved_per_size, size)
        file = self.run / f"tours-{size}.npz"
        if file.is_file():
            with np.load(file) as solved:
                if np.array_equal(solved["points"], points):  # otherwise of another seed or number
                    return points, solved["tours"].astype(np.int64)
        parts = np.array_split(points, -(-len(points) // SOLVED_AT_ONCE))
        tours = np.concatenate([self._solve(part) for part in parts])
        _write_pool(file, points, tours)
        return points, tours

    def _solve(self, points: Points) -> Tours:
        if points.shape[1] <= self.config.exact_up_to:
            return optimal_tours(points)
        return short_tours(points, self.config.search_ms)


def _write_pool(file: Path, points: Points, tours: Tours) -> None:
    """Write beside and rename, so that a kill leaves no half of a pool."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".partial.npz")
    np.savez(beside, points=points, tours=tours.astype(np.int16))
    beside.replace(file)


def _batch(points: Points, tours: Tours) -> Batch:
    return pointing_batch(points, canonical_tours(points, tours).tolist())


def apply_symmetries(points: Points, symmetries: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Points:
    """Turn or mirror each set (B, P, 2) of the unit square by its symmetry, 0 to 7: bits for x flipped, y flipped, axes swapped."""
    bits = (symmetries[:, None, None] >> np.arange(3)) & 1  # (B, 1, 3)
    flipped = np.where(bits[..., :2] == 1, 1 - points, points)
    return np.where(bits[..., 2:] == 1, flipped[..., ::-1], flipped)


def canonical_tours(points: Points, tours: Tours) -> Tours:
    """Start each tour at its set's leftmost (then lowest) point and walk counter-clockwise (positive signed area)."""
    places = np.arange(tours.shape[1])
    visited = np.take_along_axis(points, tours[..., None], 1)
    following = np.roll(visited, -1, 1)
    area = (visited[..., 0] * following[..., 1] - visited[..., 1] * following[..., 0]).sum(1)
    start = (tours == order_by_x(points)[:, :1]).argmax(1)
    order = (start[:, None] + np.sign(area + (area == 0))[:, None].astype(np.int64) * places) % tours.shape[1]
    return np.take_along_axis(tours, order, 1)
