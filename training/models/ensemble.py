"""Several models that decode as one, exported as one: Sutskever et al. 2014 (arXiv:1409.3215), section 3.6.

    logits = mean over members of their logits,   p = softmax(logits): the geometric mean of their distributions, normalised

`serving.ensemble` puts bundles together that were exported alone, as a request asks for; this is one bundle, whose step sorts its
vocabulary once.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.config import ModelConfig
from training.models.base import Decoder, Encoder, Memory, SequenceToSequence, State
from training.models.captioning import CaptioningModelConfig
from training.models.point_sequence import PointSequenceConfig
from training.models.pointer import PointerConfig
from training.models.transformer import TransformerConfig
from training.models.translation import TranslationModelConfig
from training.problems.base import Problem

MEMORY = "memory"

AnyMember = Annotated[
    TranslationModelConfig | TransformerConfig | CaptioningModelConfig | PointerConfig | PointSequenceConfig,
    Field(discriminator="kind"),
]
"""What decodes by itself; to add a model, define its config class beside it (training/config.py says what it must have)."""


class EnsembleConfig(ModelConfig):
    """The `model` section of an ensemble.

    Attributes:
        members: the section of each; all read the same inputs and speak the same vocabulary.
    """

    kind: Literal["ensemble"]
    members: tuple[AnyMember, ...] = Field(min_length=2)

    def build(self, problem: Problem) -> SequenceToSequence:
        """Make every member for the problem."""
        return ensemble_of([member.build(problem) for member in self.members])


def ensemble_of(members: Sequence[SequenceToSequence]) -> SequenceToSequence:
    """Put models together; they keep their weights."""
    encoders, decoders = [member.encoder for member in members], [member.decoder for member in members]
    return SequenceToSequence(EnsembleEncoder(encoders), EnsembleDecoder(decoders))


class EnsembleEncoder(Encoder):
    """Every member's memory and first state; the tensors of member i are named `<i>.<name>`, but for the first one's memory."""

    def __init__(self, members: list[Encoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode with each; the mask is the first one's, since all read the same positions."""
        memories: list[Memory] = []
        state: State = {}
        for i, member in enumerate(self.members):
            memory, first = member(inputs)
            memories.append(memory)
            state |= _named(i, first)
        extra = _named(0, memories[0].extra)
        for i, memory in enumerate(memories[1:], start=1):
            extra |= _named(i, {MEMORY: memory.memory, **memory.extra})
        return Memory(memories[0].memory, memories[0].memory_mask, extra), state


class EnsembleDecoder(Decoder):
    """Every member steps by itself; their logits and their attention are averaged."""

    def __init__(self, members: list[Decoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token with each; logits (R, V), all states, attention (R, S)."""
        logits, attention = [], []
        after: State = {}
        for i, member in enumerate(self.members):
            assert isinstance(member, Decoder)
            own_logits, own_state, own_attention = member.step(token, _memory_of(i, memory), _own(i, state))
            logits.append(own_logits)
            attention.append(own_attention)
            after |= _named(i, own_state)
        return _mean(logits), after, _mean(attention)

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score whole targets with each; logits (B, T, V)."""
        return _mean([member(target, _memory_of(i, memory), _own(i, state)) for i, member in enumerate(self.members)])


def _memory_of(i: int, memory: Memory) -> Memory:
    """Return what member i attends to."""
    extra = _own(i, memory.extra)
    return Memory(memory.memory if i == 0 else extra.pop(MEMORY), memory.memory_mask, extra)


def _named(i: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{i}.{name}": tensor for name, tensor in tensors.items()}


def _own(i: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{i}."): tensor for name, tensor in tensors.items() if name.startswith(f"{i}.")}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """Return the mean without a copy of all of them side by side."""
    return functools.reduce(torch.add, tensors) / len(tensors)
