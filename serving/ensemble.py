"""Several models that decode as one: a token's log-prob is the weighted mean of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.decoding.step import Encoded, FloatArray, Model, StepInputs, StepOutputs, Tensors
from serving.decoding.tensors import Tensor, on_host, resized

MASK: Final = "memory_mask"
Value = TypeVar("Value")


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Attributes:
        model: with the same target vocabulary as the others.
        weight: above 0; only the proportions matter.
    """

    model: Model
    weight: float


class Ensemble:
    """A `serving.decoding.step.Model` made of others; used by their own thread alone.

    log p = sum_i w_i log p_i with weights that sum to 1, not normalised over the vocabulary again. To mean log-probs every member
    must give all of them, so that a step costs each a sort of its vocabulary; top-k and bans happen here.

    The tensors of member i are named `<i>/<name>`, in inputs, memory and state alike; `memory_mask` covers all of them. Attention
    is the first member's, whose source positions are the request's.
    """

    def __init__(self, members: Sequence[Member], vocabulary_size: int | None, first_position: int | None) -> None:
        """Put models together.

        Args:
            members: at least one.
            vocabulary_size: of text; None in pointing.
            first_position: in pointing, whose vocabulary is this plus the positions of the memory; None for text.
        """
        assert members
        assert (vocabulary_size is None) != (first_position is None)
        total = sum(member.weight for member in members)
        self._members = [Member(member.model, member.weight / total) for member in members]
        self._vocabulary_size = vocabulary_size
        self._first_position = first_position

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        """Encode N sources with every member, each from its own inputs; see `Model.encode`."""
        encoded = [member.model.encode(_own(i, inputs)) for i, member in enumerate(self._members)]
        longest = max(one.memory[MASK].shape[1] for one in encoded)
        memories = [{name: _widened(tensor, longest) for name, tensor in one.memory.items()} for one in encoded]
        memory = _named(memories)
        memory[MASK] = np.logical_or.reduce([on_host(one[MASK]) for one in memories])
        return Encoded(memory, _named([one.state for one in encoded]))

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        """Step every member and combine what they say; see `Model.step`."""
        size = self._vocabulary_size or (self._first_position or 0) + memory[MASK].shape[1]
        rows = np.arange(len(inputs.token))
        asked = inputs._replace(banned=np.zeros((len(rows), 0), np.int64), candidates=size)
        log_prob: FloatArray = np.zeros((len(rows), size), np.float32)
        after: list[Tensors] = []
        weights = None
        for i, member in enumerate(self._members):
            wants = attention and i == 0
            outputs, one = member.model.step(asked, _of(i, memory), _of(i, state), attention=wants)
            after.append(one)
            every = np.empty_like(log_prob)
            every[rows[:, None], outputs.candidate] = outputs.log_prob
            log_prob += np.float32(member.weight) * every
            weights = outputs.attention if wants else weights
        query_log_prob = log_prob[rows, inputs.query]
        log_prob[rows[:, None], inputs.banned] = -np.inf
        best = (-log_prob).argsort(axis=1, kind="stable")[:, : inputs.candidates]
        outputs = StepOutputs(np.take_along_axis(log_prob, best, axis=1), best, query_log_prob, weights)
        return outputs, _named(after)


def joint_inputs(
    inputs: Sequence[Mapping[str, NDArray[np.generic]]],
) -> dict[str, NDArray[np.generic]]:
    """Return one source as an ensemble takes it, of what each member takes."""
    return _named(inputs)


def _own(member: int, sources: Sequence[Mapping[str, NDArray[np.generic]]]) -> list[dict[str, NDArray[np.generic]]]:
    return [_of(member, source) for source in sources]


def _of(member: int, tensors: Mapping[str, Value]) -> dict[str, Value]:
    prefix = f"{member}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _named(members: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    return {f"{i}/{name}": tensor for i, tensors in enumerate(members) for name, tensor in tensors.items()}


def _widened(tensor: Tensor, length: int) -> Tensor:
    """Pad axis 1 with zeros up to `length`."""
    return tensor if tensor.shape[1] == length else resized(tensor, tensor.shape[0], length)
