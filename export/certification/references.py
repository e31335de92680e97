"""What PyTorch answered: recorded at export and kept in the bundle, so that any machine can verify it without PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.certification.probes import Probe, draw_probes
from export.certification.searching import best_answers
from export.certification.sources import Source
from serving.decoding.step import Encoded, Model, StepInputs, StepOutputs, Tensors
from serving.manifest import Manifest

BEAM_SIZE: Final = 5
RUNNERS_UP: Final = 2
"""How many of the tokens that a greedy search did not take are recorded, each with how much less likely it was."""

Gold = tuple[str, ...] | tuple[int, ...]
"""The true answers to a source: texts, any of which is right; or one answer as zero-based indices of points."""


@dataclass(frozen=True)
class GreedyAnswer:
    """An answer and what stood against it.

    Attributes:
        tokens: T of them.
        others: (T, RUNNERS_UP) int64, the allowed tokens next to it in PyTorch's order.
        gaps: (T, RUNNERS_UP), how much less likely they were, natural log; infinite where none was left.
    """

    tokens: tuple[int, ...]
    others: NDArray[np.int64]
    gaps: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class References:
    """Recorded answers.

    Attributes:
        label: what the sources are, in words.
        sources: encoder inputs.
        greedy: one answer a source.
        beam_size: of `beam`.
        beam: one answer a source, as tokens.
        golds: the true answers, as many; None where they are not known.
        probes: steps on random sources.
    """

    label: str
    sources: tuple[Source, ...]
    greedy: tuple[GreedyAnswer, ...]
    beam_size: int
    beam: tuple[tuple[int, ...], ...]
    golds: tuple[Gold, ...] | None
    probes: tuple[Probe, ...]

    def first(self, count: int | None) -> "References":
        """Return the first `count` sources with their answers; all where None."""
        golds = None if self.golds is None else self.golds[:count]
        return replace(
            self, sources=self.sources[:count], greedy=self.greedy[:count], beam=self.beam[:count], golds=golds
        )


def record_references(
    manifest: Manifest,
    reference: Model,
    sources: Sequence[Source],
    *,
    label: str,
    golds: Sequence[Gold] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> References:
    """Answer sources with the model that a bundle's graphs shall agree with.

    Args:
        manifest: the bundle's.
        reference: such as a PyTorch model; anything that encodes and steps.
        sources: what it was not trained on; at least one.
        label: what the sources are, in words, for certificates.
        golds: their true answers, if they are known.
        progress: called with a word on what is being done.
    """
    progress(f"recording the reference's greedy answers to {len(sources)} {label}")
    greedy = _greedy_answers(manifest, reference, sources)
    beam_size = min(BEAM_SIZE, manifest.limits.beam_size)
    progress(f"recording its answers with beam {beam_size}")
    beam = best_answers(manifest, reference, sources, beam_size)
    probes = draw_probes(manifest, reference, sources)
    return References(
        label,
        tuple(sources),
        greedy,
        beam_size,
        tuple(answer.tokens for answer in beam),
        None if golds is None else tuple(golds),
        probes,
    )


# ---- greedy answers


def _greedy_answers(manifest: Manifest, reference: Model, sources: Sequence[Source]) -> tuple[GreedyAnswer, ...]:
    watched = _Watched(reference)
    answers = best_answers(manifest, watched, sources, beam_size=1)
    return tuple(
        GreedyAnswer(
            answer.tokens,
            np.array([others for others, _ in seen], np.int64).reshape(-1, RUNNERS_UP),
            np.array([gaps for _, gaps in seen]).reshape(-1, RUNNERS_UP),
        )
        for answer, seen in zip(answers, watched.seen, strict=True)
    )


class _Watched:
    """A model that is searched greedily, one row a source, and remembers the runners-up of each of its rows.

    Attributes:
        seen: for every source that was encoded, in order: at each step the tokens not taken, and how much less likely each was.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.seen: list[list[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]] = []
        self._first = 0

    def encode(self, inputs: Sequence[Any]) -> Encoded:
        """See `Model.encode`."""
        self._first = len(self.seen)
        self.seen += [[] for _ in inputs]
        return self._model.encode(inputs)

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        """See `Model.step`."""
        assert inputs.candidates == 1
        outputs, after = self._model.step(
            inputs._replace(candidates=1 + RUNNERS_UP), memory, state, attention=attention
        )
        for source, tokens, log_probs in zip(inputs.source, outputs.candidate, outputs.log_prob, strict=True):
            self.seen[self._first + source].append((tokens[1:], log_probs[0] - log_probs[1:]))
        taken = outputs._replace(log_prob=outputs.log_prob[:, :1], candidate=outputs.candidate[:, :1])
        return taken, after
