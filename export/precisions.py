"""The graphs of each precision, made of the float32 ones that were traced."""

from collections.abc import Sequence
from typing import Final

import onnx
import onnx_ir
from onnxruntime.transformers.float16 import convert_float_to_float16

from export.calibration import Calibration, ranges_of
from export.convolutions import has_convolutions, quantise_convolutions
from export.onnx_writer import Graphs
from export.products import products_of, quantise
from export.selection import append_selection, cut_selection
from export.storage import store_in_8_bits
from serving.decoding.step import Tensors
from serving.manifest import Precision
from training.recipe import MIGRATION

PRECISE_OPERATORS: Final = ("Softmax", "GRU", "LSTM", "RNN", "LayerNormalization")
"""What stays float32 under float16, the selection with it: sums of many small numbers."""


def graphs_in(precision: Precision, traced: Graphs, calibration: Calibration, migration: float = MIGRATION) -> Graphs:
    """Return the graphs of a precision.

    Args:
        precision: fp32 gives `traced` itself.
        traced: float32.
        calibration: what both were fed while real inputs were decoded; fixed scales come from it. Pointing models are stored in 8
            bits and compute in float32, see `reads_points`.
        migration: see `quantise`.
    """
    if precision == "fp32":
        return traced
    if precision == "fp16":
        step = _halved(cut_selection(traced.decoder_step))
        append_selection(step)
        return Graphs(_halved(traced.encoder), step)
    if reads_points(traced.encoder):
        return Graphs(store_in_8_bits(traced.encoder), store_in_8_bits(traced.decoder_step))
    return Graphs(
        _in_8_bits(traced.encoder, calibration.encoder, migration),
        _in_8_bits(traced.decoder_step, calibration.step, migration),
    )


def _in_8_bits(model: onnx.ModelProto, feeds: Sequence[Tensors], migration: float) -> onnx.ModelProto:
    ranges = ranges_of(model, products_of(model), feeds)
    if has_convolutions(model):
        model = quantise_convolutions(model, feeds)
    return quantise(model, ranges, migration)


def reads_points(encoder: onnx.ModelProto) -> bool:
    """Say whether an encoder reads points, which a model must tell apart however near they are: in 8 bits they become the same.

    Measured on the hull model: with the encoder's products in 8 bits 4 % of the greedy answers changed, and 0.8 points of exact
    hulls went; with the step's alone 0.7 % changed, and sources encoded together moved log-probs by 6e-3, for a step that was 1.2
    times faster at 160 rows (docs/log.md, 8-bit arithmetic).
    """
    return any(value.name == "points" for value in encoder.graph.input)


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph in float16 with float32 inputs and outputs."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    halved = onnx_ir.from_proto(
        convert_float_to_float16(copied, keep_io_types=True, op_block_list=list(PRECISE_OPERATORS))
    )
    halved.graph.sort()  # the tool appends its casts at the end
    proto: onnx.ModelProto = onnx_ir.to_proto(halved)
    return proto
