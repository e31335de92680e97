"""A clock that stands still, and a model whose work moves it on."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.decoding.step import Encoded, Model, StepInputs, StepOutputs, Tensors


class ManualClock:
    """Tells the time it was set to, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedModel:
    """Takes `encode_s` for an encoder run and `step_s` for a step, on a clock of the test's."""

    def __init__(self, model: Model, clock: ManualClock, *, encode_s: float = 0.0, step_s: float = 0.0) -> None:
        self._model = model
        self._clock = clock
        self.encode_s = encode_s
        self.step_s = step_s
        self.steps = 0

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        self._clock.now += self.encode_s
        return self._model.encode(inputs)

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        self._clock.now += self.step_s
        self.steps += 1
        return self._model.step(inputs, memory, state, attention=attention)
