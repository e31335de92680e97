"""Encoder inputs to trace with, to compare tensors on and to decode: random ones, and real ones that training never saw."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.errors import ExportError
from export.graphs import ENCODER_GRAPHS
from serving.manifest import TaskName, TensorSpec
from serving.session import pad_batch
from training.problems.base import Problem
from training.vocabulary import EOS, PAD

Source = dict[str, NDArray[Any]]
"""One source: each encoder input without the batch axis and without padding."""

IMAGE_SHAPE: Final = (224, 224, 3)


@runtime_checkable
class HoldsBack(Protocol):
    """A problem whose validation batches are not what the exported encoder reads, such as features computed before."""

    def held_back_inputs(self, count: int) -> list[dict[str, Tensor]]:
        """Return `count` held-back sources as the exported encoder is fed them, batch axis included."""


def held_back_sources(problem: Problem, task: TaskName, count: int) -> list[Source]:
    """Return up to `count` sources that the model was not trained on, in the problem's own order.

    Raises:
        ExportError: the problem has none.
    """
    sources = [source for _, source in zip(range(count), _all_held_back(problem, task, count), strict=False)]
    if not sources:
        raise ExportError("the problem holds back no inputs; parity needs at least one")
    return sources


def _all_held_back(problem: Problem, task: TaskName, count: int) -> Iterator[Source]:
    if isinstance(problem, HoldsBack):
        for inputs in problem.held_back_inputs(count):
            yield from split_batch(inputs, task)
        return
    batches = [list(split_batch(batch.inputs, task)) for batch in problem.validation_batches()]
    # Batches may differ in kind, such as one for each size of point set: take from each in turn.
    for place in range(max(map(len, batches), default=0)):
        yield from (batch[place] for batch in batches if place < len(batch))


def split_batch(inputs: Mapping[str, Tensor], task: TaskName) -> Iterator[Source]:
    """Take a padded batch apart into its sources."""
    axes = ENCODER_GRAPHS[task].axes
    counts = next((inputs[name] for name in axes if axes[name] == ("N",) and inputs[name].ndim == 1), None)
    for row in range(len(next(iter(inputs.values())))):
        real = slice(None) if counts is None else slice(int(counts[row]))
        yield {name: np.asarray(inputs[name][row][real] if "S" in axes[name] else inputs[name][row]) for name in axes}


def random_source(task: TaskName, random: np.random.Generator, length: int, like: Sequence[Source]) -> Source:
    """Draw a source of `length` positions: noise, points in a box anywhere, or ids that occur in the sources `like`."""
    if task == "captioning":
        return {"image": random.integers(0, 256, IMAGE_SHAPE).astype(np.uint8)}
    if task == "translation":
        known = np.unique(np.concatenate([source["source_tokens"] for source in like]))
        tokens = np.append(random.choice(known, length - 1), EOS)
        return {"source_tokens": tokens, "source_lengths": np.array(length)}
    corner, size = random.uniform(-1000, 1000, 2), random.uniform(0.01, 1000)
    return {"points": corner + size * random.random((length, 2)), "point_counts": np.array(length)}


def as_batch(sources: Sequence[Source], specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """Pad sources into the encoder's inputs, as the server does."""
    return {
        spec.name: torch.from_numpy(pad_batch([source[spec.name] for source in sources], spec, PAD)) for spec in specs
    }


def example_batch(task: TaskName, like: Sequence[Source]) -> dict[str, Tensor]:
    """Return a random batch for `trace_graphs`: three sources of up to 7 positions."""
    random = np.random.default_rng(0)
    sources = [random_source(task, random, length, like) for length in (7, 6, 5)]
    axes = ENCODER_GRAPHS[task].axes
    specs = [
        TensorSpec.model_validate(
            {"name": name, "dtype": str(array.dtype), "axes": (*axes[name], *array.shape[len(axes[name]) - 1 :])}
        )
        for name, array in sources[0].items()
    ]
    return as_batch(sources, specs)
