"""Probes: a few steps of the model on random sources of random lengths, and what the reference answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.certification.sources import Source, random_source
from serving.decoding.step import Model, StepInputs, StepOutputs
from serving.decoding.tensors import on_host
from serving.manifest import Manifest

SHAPES: Final = 8
STEPS: Final = 4
USUAL_LENGTH: Final = 60
"""Random sources are no longer, but for one of the greatest length."""
MOST_CANDIDATES: Final = 32
"""Of what a probe asks for: recorded answers travel in the bundle."""


class ProbeStep(NamedTuple):
    """What was asked of a step, and what the reference said; its attention is there."""

    inputs: StepInputs
    expected: StepOutputs


@dataclass(frozen=True)
class Probe:
    """Sources that were encoded in one batch, and the steps after it, each going on with the states of the one before."""

    sources: tuple[Source, ...]
    steps: tuple[ProbeStep, ...]


class TensorComparison(NamedTuple):
    """How far log-probs and attention weights are from the reference's.

    Attributes:
        error: the largest difference of two finite numbers.
        unlike: how many numbers are finite on one side only, or are no numbers.
    """

    error: float
    unlike: int


def draw_probes(manifest: Manifest, reference: Model, like: Sequence[Source]) -> tuple[Probe, ...]:
    """Draw `SHAPES` batches from the least length allowed to the greatest, and step the reference through each.

    Args:
        manifest: what is allowed.
        reference: whose answers are expected.
        like: real sources, for the ids that occur in them.
    """
    random = np.random.default_rng(0)
    limits = manifest.limits
    probes = []
    for shape in range(SHAPES):
        count = 1 if shape == 0 else int(random.integers(2, 6))
        lengths = random.integers(limits.min_source_length, min(limits.source_length, USUAL_LENGTH) + 1, count)
        # The ends of what is allowed: one source of the least length alone, and one of the greatest beside others.
        lengths[0] = {0: limits.min_source_length, SHAPES - 1: limits.source_length}.get(shape, lengths[0])
        sources = tuple(random_source(manifest.task, random, int(length), like) for length in lengths)
        probes.append(Probe(sources, _steps(manifest, reference, sources, random)))
    return tuple(probes)


def compare_tensors(probes: Sequence[Probe], candidate: Model) -> TensorComparison:
    """Step a model through the probes; each side goes on with its own states, so that errors add up as they do in a search."""
    error, unlike = 0.0, 0
    for probe in probes:
        encoded = candidate.encode(probe.sources)
        state = encoded.state
        for step in probe.steps:
            actual, state = candidate.step(step.inputs, encoded.memory, state, attention=True)
            for expected, given in zip(_numbers(step.expected), _numbers(actual), strict=True):
                comparable = np.isfinite(expected) & np.isfinite(given)
                unlike += int((~(comparable | (expected == given))).sum())
                difference = np.abs(expected[comparable] - given[comparable])
                error = max(error, float(difference.max(initial=0)))
    return TensorComparison(error, unlike)


def _numbers(outputs: StepOutputs) -> tuple[NDArray[np.float64], ...]:
    """Return what is compared; log-probs stand best first, so that tokens which trade places change nothing more."""
    assert outputs.attention is not None
    compared = (outputs.log_prob, outputs.query_log_prob, outputs.attention)
    return tuple(array.astype(np.float64) for array in compared)


class _Rows(NamedTuple):
    """What each of R rows is; (R,) int64 each, as in StepInputs."""

    token: NDArray[np.int64]
    parent: NDArray[np.int64]
    source: NDArray[np.int64]


def _steps(
    manifest: Manifest, reference: Model, sources: Sequence[Source], random: np.random.Generator
) -> tuple[ProbeStep, ...]:
    """Take steps of rows that are repeated, dropped, banned and asked about at random."""
    encoded = reference.encode(sources)
    state, mask = encoded.state, on_host(encoded.memory["memory_mask"]).astype(np.bool_)
    row_source = np.arange(len(sources))
    tokens = np.full(len(sources), manifest.vocabulary.bos)
    steps = []
    for _ in range(STEPS):
        parent = random.integers(0, len(row_source), int(random.integers(1, 2 * len(sources) + 2)))
        row_source = row_source[parent]
        inputs = _random_step(manifest, random, _Rows(tokens[parent], parent, row_source), mask)
        outputs, state = reference.step(inputs, encoded.memory, state, attention=True)
        steps.append(ProbeStep(inputs, outputs))
        choice = random.integers(0, np.isfinite(outputs.log_prob).sum(1))
        tokens = outputs.candidate[np.arange(len(parent)), choice]
    return tuple(steps)


def _random_step(manifest: Manifest, random: np.random.Generator, given: _Rows, mask: NDArray[np.bool_]) -> StepInputs:
    """Draw bans, queries and k for rows that are given; at least 3 tokens of each source stay allowed."""
    vocabulary = manifest.vocabulary
    rows = len(given.token)
    if vocabulary.first_position is None:
        assert vocabulary.size is not None
        highest, width = np.full(rows, vocabulary.size), vocabulary.size
    else:
        highest, width = (
            vocabulary.first_position + mask.sum(1)[given.source],
            vocabulary.first_position + mask.shape[1],
        )
    bans = int(random.integers(0, 4))
    banned = (
        random.integers(vocabulary.eos + 1, highest[:, None], (rows, bans)) if bans else np.zeros((rows, 0), np.int64)
    )
    return StepInputs(
        **given._asdict(),
        banned=np.where(random.random(banned.shape) < 0.2, vocabulary.pad, banned),
        query=random.integers(vocabulary.eos, highest),
        candidates=min(int(random.choice([1, 5, MOST_CANDIDATES])), width),
    )
