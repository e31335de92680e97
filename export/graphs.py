"""Thin modules whose `forward` signature is the ONNX signature; docs/architecture.md has the names and shapes."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from export.folding import fold_normalisation
from training.models.base import Decoder, Encoder, Memory, State
from training.models.convolution import QuantizedConvolution
from training.models.recurrent import RecurrentLayer

Axes = Mapping[str, tuple[str, ...]]
"""The inputs in their order, each with the letters of its leading free axes."""

EncoderOutputs = tuple[Tensor, Tensor, dict[str, Tensor], State]


class TextEncoderGraph(nn.Module):
    """Source tokens in."""

    axes: ClassVar[Axes] = {"source_tokens": ("N", "S"), "source_lengths": ("N",)}

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = with_operators(encoder)

    def forward(self, source_tokens: Tensor, source_lengths: Tensor) -> EncoderOutputs:
        """Encode (N, S) int64 of (N,) int64 lengths."""
        return _flat(self.encoder({"source_tokens": source_tokens, "source_lengths": source_lengths}))


class ImageEncoderGraph(nn.Module):
    """An image in; normalisation and the convolutional network are inside."""

    axes: ClassVar[Axes] = {"image": ("N",)}

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = with_operators(encoder)

    def forward(self, image: Tensor) -> EncoderOutputs:
        """Encode (N, height, width, 3) uint8 RGB."""
        return _flat(self.encoder({"image": image}))


class PointsEncoderGraph(nn.Module):
    """A point set in; scaling is inside."""

    axes: ClassVar[Axes] = {"points": ("N", "S"), "point_counts": ("N",)}

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = with_operators(encoder)

    def forward(self, points: Tensor, point_counts: Tensor) -> EncoderOutputs:
        """Encode (N, S, 2) float64 of (N,) int64 counts."""
        return _flat(self.encoder({"points": points, "point_counts": point_counts}))


EncoderGraph = TextEncoderGraph | ImageEncoderGraph | PointsEncoderGraph

ENCODER_GRAPHS: Final[Mapping[str, type[EncoderGraph]]] = {
    "translation": TextEncoderGraph,
    "captioning": ImageEncoderGraph,
    "convex_hull": PointsEncoderGraph,
    "delaunay": PointsEncoderGraph,
    "tour": PointsEncoderGraph,
}
"""The encoder graph of each task."""


class DecoderStepGraph(nn.Module):
    """One token for every row, of any decoder: gather and step; `export.selection` adds what turns logits into candidates."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(  # noqa: PLR0917 - the ONNX signature
        self,
        token: Tensor,
        parent: Tensor,
        source: Tensor,
        memory: Tensor,
        memory_mask: Tensor,
        extra: dict[str, Tensor],
        state: State,
    ) -> tuple[Tensor, State, Tensor]:
        """Advance R rows.

        Args:
            token: (R,) int64, what each row chose last.
            parent: (R,) int64, the incoming row of `state` that each row continues.
            source: (R,) int64, the source of `memory` that each row reads.
            memory: (N, S, H) float32.
            memory_mask: (N, S) bool.
            extra: (N, S, ...) each, the inputs `memory.<name>`.
            state: (Q, ...) each, the inputs `state.<name>`.

        Returns:
            logits (R, V); the state one step on (R, ...); attention (R, S).
        """
        # index_select, for it becomes one Gather; indexing with [] becomes Unsqueeze and GatherND.
        read = Memory(
            memory.index_select(0, source),
            memory_mask.index_select(0, source),
            {name: tensor.index_select(0, source) for name, tensor in extra.items()},
        )
        incoming = {name: tensor.index_select(0, parent) for name, tensor in state.items()}
        logits, after, attention = self.decoder.step(token, read, incoming)
        return logits, {name: after[name] for name in state}, attention


def _flat(encoded: tuple[Memory, State]) -> EncoderOutputs:
    memory, state = encoded
    return memory.memory, memory.memory_mask, memory.extra, state


class RecurrentOperator(nn.Module):
    """A recurrent layer as one ONNX operator with `sequence_lens`; only for tracing, it computes nothing in PyTorch.

    A Python loop over time would freeze the source length into the graph.
    """

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        cell = layer.forward_cell
        self.operator = cell.onnx_operator
        self.attributes: dict[str, Any] = {"hidden_size": cell.hidden_size, "direction": layer.direction}
        self.attributes |= cell.onnx_attributes
        self.hidden_size = cell.hidden_size
        self.directions = len(layer.cells)
        self.states = len(cell.state_names)
        weights = layer.onnx_weights()
        self.input_weight: Tensor
        self.recurrent_weight: Tensor
        self.bias: Tensor
        for name, tensor in zip(("input_weight", "recurrent_weight", "bias"), weights, strict=True):
            self.register_buffer(name, tensor.contiguous())

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Stand for `RecurrentLayer.forward`: inputs (N, S, I) and mask (N, S) to (N, S, D * H) and (N, D * H)."""
        batch, length, directions, size = inputs.shape[0], inputs.shape[1], self.directions, self.hidden_size
        lengths = mask.sum(1).to(torch.int32)
        shapes = [[length, directions, batch, size], *([[directions, batch, size]] * self.states)]
        outputs, last, *_ = torch.onnx.ops.symbolic_multi_out(
            self.operator,
            (inputs.transpose(0, 1), self.input_weight, self.recurrent_weight, self.bias, lengths),
            self.attributes,
            dtypes=tuple(inputs.dtype for _ in shapes),
            shapes=shapes,
            version=14,
        )
        outputs = outputs.permute(2, 0, 1, 3).reshape(batch, length, directions * size)  # from (S, D, N, H)
        return outputs, last.transpose(0, 1).reshape(batch, directions * size)  # from (D, N, H)


class DequantizingConvolution(QuantizedConvolution):
    """A convolution that keeps its weight in 8 bits in the graph, as DequantizeLinear before Conv; only for tracing."""

    @classmethod
    def of(cls, convolution: QuantizedConvolution) -> "DequantizingConvolution":
        """Return the twin of a convolution."""
        outputs, inputs, kernel, _ = convolution.weight_q.shape
        twin = cls(inputs * convolution.groups, outputs, kernel, convolution.stride, convolution.groups)
        twin.load_state_dict(convolution.state_dict())
        return twin

    def weight(self) -> Tensor:
        """Stand for the float32 weight."""
        tensors = (self.weight_q, self.weight_scale, self.weight_zero)
        return torch.onnx.ops.symbolic(
            "DequantizeLinear", tensors, dtype=torch.float32, shape=tuple(self.weight_q.shape), version=19
        )


def with_operators(encoder: Encoder) -> Encoder:
    """Return a copy of an encoder in which ONNX operators stand for the modules that tracing would take apart.

    Batch normalisation is folded, where it was not before.
    """
    copied = copy.deepcopy(encoder)
    fold_normalisation(copied)
    for name, module in list(copied.named_modules()):
        if isinstance(module, RecurrentLayer):
            copied.set_submodule(name, RecurrentOperator(module))
        elif isinstance(module, QuantizedConvolution):
            copied.set_submodule(name, DequantizingConvolution.of(module))
    return copied
