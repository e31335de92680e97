"""The PyTorch side of parity: a trained model as what decoding asks for, in operations of its own."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.sources import as_batch
from serving.decoding.step import Encoded, StepInputs, StepOutputs, Tensors
from serving.manifest import TensorSpec
from training.models.base import Memory, SequenceToSequence


class TorchModel:
    """A `serving.decoding.step.Model` in eager PyTorch; nothing of the exported graphs is in it."""

    def __init__(self, model: SequenceToSequence, inputs: Sequence[TensorSpec]) -> None:
        """Wrap a model in evaluation mode; `inputs` are the encoder's, from the manifest."""
        self._model = model
        self._inputs = inputs

    @torch.inference_mode()
    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        """Encode N sources in one padded batch; see `Model.encode`."""
        memory, state = self._model.encoder(as_batch([dict(source) for source in inputs], self._inputs))
        tensors = {"memory": memory.memory, "memory_mask": memory.memory_mask}
        tensors |= {f"memory.{name}": tensor for name, tensor in memory.extra.items()}
        return Encoded(_arrays(tensors), _arrays({f"state.{name}": tensor for name, tensor in state.items()}))

    @torch.inference_mode()
    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        """Advance R rows by one token; see `Model.step`."""
        parent = torch.from_numpy(inputs.parent)
        tensors = {name: torch.from_numpy(array) for name, array in memory.items()}
        extra = {name.removeprefix("memory."): tensor for name, tensor in tensors.items() if name.startswith("memory.")}
        read = Memory(tensors["memory"], tensors["memory_mask"], extra).take(torch.from_numpy(inputs.source))
        rows = {name.removeprefix("state."): torch.from_numpy(array)[parent] for name, array in state.items()}
        logits, after, weights = self._model.decoder.step(torch.from_numpy(inputs.token), read, rows)
        outputs = _outputs(logits.log_softmax(-1).numpy(), inputs, weights.numpy() if attention else None)
        return outputs, _arrays({f"state.{name}": tensor for name, tensor in after.items()})


def _outputs(log_probs: NDArray[np.float32], inputs: StepInputs, attention: NDArray[np.float32] | None) -> StepOutputs:
    """Read the query, ban, and take the k best of log-probs (R, V), ties to the smaller id."""
    rows = np.arange(len(log_probs))
    query_log_prob = log_probs[rows, inputs.query]
    allowed = log_probs.copy()
    allowed[rows[:, None], inputs.banned] = -np.inf
    best = np.argsort(-allowed, axis=1, kind="stable")[:, : inputs.candidates]
    return StepOutputs(np.take_along_axis(allowed, best, 1), best, query_log_prob, attention)


def _arrays(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
