"""What decoding asks of a model: encode sources, advance rows; an ONNX pair, a torch module or a Markov table can be one.

R rows (hypotheses), N sources, S source positions, k candidates; the step contract of docs/architecture.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.decoding.tensors import Tensor

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]
Tensors = dict[str, Tensor]
"""Named tensors; rows (state) or sources (memory) on axis 0."""


@dataclass(frozen=True)
class Encoded:
    """What an encoder says of N sources: arrays, or tensors on the model's device that its step takes as they are.

    Attributes:
        memory: `memory`, `memory_mask` and any `memory.<name>`, each (N, S, ...), padded with zeros (False) on axis 1.
        state: `state.<name>`, each (N, ...): the first state of one row a source.
    """

    memory: Tensors
    state: Tensors


class StepInputs(NamedTuple):
    """What each of R rows does next.

    Attributes:
        token: (R,) int64, what each row chose last; `bos` at first.
        parent: (R,) int64, the row of the incoming state that each row continues.
        source: (R,) int64, the source of `memory` that each row reads.
        banned: (R, M) int64, tokens a row may not take, filled up with `pad`; M may be 0.
        query: (R,) int64, a token whose log-prob the caller wants; `pad` where it wants none.
        candidates: k, how many best tokens to return, from 1 to the vocabulary's size.
    """

    token: IntArray
    parent: IntArray
    source: IntArray
    banned: IntArray
    query: IntArray
    candidates: int


class StepOutputs(NamedTuple):
    """What a step says of each row.

    Attributes:
        log_prob: (R, k) float32, natural log, best first; -inf where fewer than k tokens are allowed.
        candidate: (R, k) int64, ties to the smaller id.
        query_log_prob: (R,) float32, before the bans.
        attention: (R, S) float32, or None when it was not asked for.
    """

    log_prob: FloatArray
    candidate: IntArray
    query_log_prob: FloatArray
    attention: FloatArray | None


class Model(Protocol):
    """An encoder and its decoder step."""

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        """Encode N sources, each given without the batch axis, in one padded batch."""

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        """Advance R rows by one token: gather `state` by `parent` and `memory` by `source`, then step.

        Returns:
            the outputs, and the state one step on with R rows.
        """
