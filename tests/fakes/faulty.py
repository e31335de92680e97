"""Models that wait to be let go on, or fail."""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.decoding.step import Encoded, Model, StepInputs, StepOutputs, Tensors


class GatedModel:
    """Takes a step only when let: the test says how far the engine gets."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._allowed = threading.Semaphore(0)
        self._entered = threading.Semaphore(0)
        self.rows: list[int] = []

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        return self._model.encode(inputs)

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        self.rows.append(len(inputs.token))
        self._entered.release()
        assert self._allowed.acquire(timeout=30), "the test forgot to let the model go on"
        return self._model.step(inputs, memory, state, attention=attention)

    def wait_until_stepping(self) -> None:
        """Wait until the engine stands at a step."""
        assert self._entered.acquire(timeout=30), "the engine never came to a step"

    def let_step(self, count: int = 1) -> None:
        """Let the model take so many steps."""
        self._allowed.release(count)


class RaisingModel:
    """Raises at the first calls, then works."""

    def __init__(self, model: Model, *, encodes: int = 0, steps: int = 0) -> None:
        self._model = model
        self._encodes = encodes
        self._steps = steps

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        if self._encodes:
            self._encodes -= 1
            raise RuntimeError("no such weights")
        return self._model.encode(inputs)

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        if self._steps:
            self._steps -= 1
            raise RuntimeError("no such memory")
        return self._model.step(inputs, memory, state, attention=attention)
