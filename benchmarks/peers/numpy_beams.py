"""A beam search as people write it around two ONNX sessions: NumPy, logits in, everything repeated for each beam."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

BOS: Final = 1
EOS: Final = 2
Floats = NDArray[np.floating[Any]]


class Step(Protocol):
    """One token for every row."""

    def __call__(
        self, token: NDArray[np.int64], state: Mapping[str, NDArray[Any]]
    ) -> tuple[Floats, dict[str, NDArray[Any]]]:
        """Return logits (R, V), and the states one step on."""


def search(
    step: Step, state: Mapping[str, NDArray[Any]], sources: int, *, beam_size: int, longest: int, length_penalty: float
) -> list[list[int]]:
    """Return each source's best answer, without `eos`; all rows are stepped until every source's search is over.

    The same search as ours and as `training.decoding.search`: the K best continuations live on, those that end leave the beam, and
    it is over when nothing that lives can become better.

    Args:
        step: the decoder.
        state: (N * K, ...) each, the rows of a source together.
        sources: N.
        beam_size: K.
        longest: most tokens, `eos` counted.
        length_penalty: a finished log-prob is divided by ((5 + length) / 6) ** length_penalty.
    """
    scores = np.full((sources, beam_size), -np.inf)
    scores[:, 0] = 0.0
    tokens = np.zeros((sources, beam_size, 0), np.int64)
    last = np.full(sources * beam_size, BOS, np.int64)
    best, answers = np.full(sources, -np.inf), [[] for _ in range(sources)]  # type: tuple[Floats, list[list[int]]]
    bound = ((5 + longest) / 6) ** length_penalty
    for length in range(1, longest + 1):
        logits, state = step(last, state)
        total = scores[:, :, None] + log_softmax(logits).reshape(sources, beam_size, -1)
        size = total.shape[2]
        flat = total.reshape(sources, -1)
        chosen = np.argpartition(-flat, beam_size - 1, axis=1)[:, :beam_size]
        scores = np.take_along_axis(flat, chosen, 1)
        parent, token = chosen // size, chosen % size
        tokens = np.concatenate([np.take_along_axis(tokens, parent[:, :, None], 1), token[:, :, None]], 2)
        rows = (parent + np.arange(sources)[:, None] * beam_size).ravel()
        state = {name: array[rows] for name, array in state.items()}
        last = token.ravel()
        ended = (token == EOS) | ((length == longest) & np.isinf(best)[:, None])
        finished = np.where(ended, scores / ((5 + length) / 6) ** length_penalty, -np.inf)
        for source in np.flatnonzero(finished.max(1) > best):
            place = int(finished[source].argmax())
            best[source] = finished[source, place]
            answers[source] = [one for one in tokens[source, place].tolist() if one != EOS]
        scores = np.where(ended, -np.inf, scores)
        if (best >= scores.max(1) / bound).all():
            break
    return answers


def log_softmax(logits: Floats) -> Floats:
    """Return natural logs of softmax over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
