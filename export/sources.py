"""Real inputs that training never saw, to calibrate and to compare answers on; and a batch to trace with."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from export.certification.references import Gold
from export.certification.sources import Source, random_source
from export.errors import ExportError
from export.graphs import ENCODER_GRAPHS
from serving.manifest import TaskName, TensorSpec
from serving.session import pad_batch
from training.problems.base import Batch, Problem
from training.problems.captioning import CaptioningProblem
from training.problems.translation import TranslationProblem
from training.vocabulary import EOS, FIRST_POSITION, PAD


@runtime_checkable
class HoldsBack(Protocol):
    """A problem whose validation batches are not what the exported encoder reads, such as features computed before."""

    def held_back_inputs(self, count: int) -> list[dict[str, Tensor]]:
        """Return `count` held-back sources as the exported encoder is fed them, batch axis included."""


class HeldBack(NamedTuple):
    """Sources that the model was not trained on, and their true answers; None where the problem does not give them."""

    sources: list[Source]
    golds: list[Gold] | None


def held_back(problem: Problem, task: TaskName, count: int) -> HeldBack:
    """Return up to `count` sources in the problem's own order.

    Raises:
        ExportError: the problem has none.
    """
    if isinstance(problem, HoldsBack):
        sources = [source for inputs in problem.held_back_inputs(count) for source in split_batch(inputs, task)]
        golds = _texts(problem, count)
    else:
        pairs = list(islice(_pairs(problem, task), count))
        sources = [source for source, _ in pairs]
        golds = _texts(problem, count) if task == "translation" else [indices for _, indices in pairs]
    if not sources:
        raise ExportError("the problem holds back no inputs; parity needs at least one")
    return HeldBack(sources, golds)


def _texts(problem: Problem, count: int) -> list[Gold] | None:
    """Return the true texts of the first held-back sources, as people wrote them."""
    if isinstance(problem, TranslationProblem):
        return [(pair.target,) for pair in problem.pairs.validation_text[:count]]
    if isinstance(problem, CaptioningProblem):
        return [image.captions for image in problem.photos.validation_images[:count]]
    return None


def _pairs(problem: Problem, task: TaskName) -> Iterator[tuple[Source, tuple[int, ...]]]:
    """Yield held-back sources with the indices of points that their targets name; meaningless ones for text."""
    batches = [
        list(zip(split_batch(batch.inputs, task), _indices(batch), strict=True))
        for batch in problem.validation_batches()
    ]
    if task == "translation":
        yield from (pair for batch in batches for pair in batch)
        return
    # Batches differ in kind, one for each size of point set: take from each in turn.
    for place in range(max(map(len, batches), default=0)):
        yield from (batch[place] for batch in batches if place < len(batch))


def _indices(batch: Batch) -> Iterator[tuple[int, ...]]:
    for target in batch.target.tolist():
        yield tuple(token - FIRST_POSITION for token in target if token not in {PAD, EOS})


def split_batch(inputs: Mapping[str, Tensor], task: TaskName) -> Iterator[Source]:
    """Take a padded batch apart into its sources."""
    axes = ENCODER_GRAPHS[task].axes
    counts = next((inputs[name] for name in axes if axes[name] == ("N",) and inputs[name].ndim == 1), None)
    for row in range(len(next(iter(inputs.values())))):
        real = slice(None) if counts is None else slice(int(counts[row]))
        yield {name: np.asarray(inputs[name][row][real] if "S" in axes[name] else inputs[name][row]) for name in axes}


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
            {
                "name": name,
                "dtype": str(sources[0][name].dtype),
                "axes": (*letters, *sources[0][name].shape[len(letters) - 1 :]),
            }
        )
        for name, letters in axes.items()
    ]
    return as_batch(sources, specs)
