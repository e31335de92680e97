"""A model whose answer to every source is known: a function of its inputs, said token by token with certainty."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.decoding.step import Encoded, StepInputs, StepOutputs, Tensors

Inputs = Mapping[str, NDArray[np.generic]]


class ScriptedModel:
    """Says `answer_of(inputs)`, `eos` included, whatever the search; other tokens have log-prob -50."""

    def __init__(self, answer_of: Callable[[Inputs], Sequence[int]], vocabulary_size: int) -> None:
        self.answer_of = answer_of
        self.vocabulary_size = vocabulary_size

    def encode(self, inputs: Sequence[Inputs]) -> Encoded:
        answers = [self.answer_of(one) for one in inputs]
        longest = max(map(len, answers))
        memory = np.zeros((len(answers), longest, 1), np.float32)
        mask = np.zeros((len(answers), longest), np.bool_)
        for row, real, answer in zip(memory, mask, answers, strict=True):
            row[: len(answer), 0], real[: len(answer)] = answer, True
        return Encoded({"memory": memory, "memory_mask": mask}, {"state.step": np.zeros((len(answers), 1), np.int64)})

    def step(
        self,
        inputs: StepInputs,
        memory: Tensors,
        state: Tensors,
        *,
        attention: bool = False,  # noqa: ARG002 - it looks at nothing
    ) -> tuple[StepOutputs, Tensors]:
        step = state["state.step"][inputs.parent]
        answer = memory["memory"][inputs.source, :, 0]
        wanted = np.take_along_axis(answer, np.minimum(step, answer.shape[1] - 1), axis=1).astype(np.int64)
        log_prob = np.full((len(wanted), self.vocabulary_size), -50, np.float32)
        np.put_along_axis(log_prob, wanted, 0, axis=1)
        query = np.take_along_axis(log_prob, inputs.query[:, None], axis=1)[:, 0]
        log_prob[:, :2] = -np.inf  # pad and bos
        np.put_along_axis(log_prob, inputs.banned, -np.inf, axis=1)
        candidate = np.argsort(-log_prob, axis=1, kind="stable")[:, : inputs.candidates]
        outputs = StepOutputs(np.take_along_axis(log_prob, candidate, axis=1), candidate, query, None)
        return outputs, {"state.step": step + 1}
