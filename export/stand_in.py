"""8-bit weights under float32 arithmetic, in the place of `export.precisions` until that is there."""

import copy

import onnx
import torch
from onnx import numpy_helper

from export.errors import ExportError
from export.onnx_writer import Graphs
from export.quantise import SMALLEST, rounded, store_in_8_bits
from serving.manifest import Precision


def stand_in_graphs(precision: Precision, traced: Graphs) -> Graphs:
    """Return the graphs of a precision."""
    if precision == "fp16":
        raise ExportError("--precision fp16: cannot be made yet; allowed: fp32, int8")
    graphs = copy.deepcopy(traced)
    for graph in (graphs.encoder, graphs.decoder_step):
        _round(graph)
        store_in_8_bits(graph)
    return graphs


def _round(model: onnx.ModelProto) -> None:
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if initializer.data_type == onnx.TensorProto.FLOAT and values.ndim >= 2 and values.size >= SMALLEST:
            new = rounded(torch.from_numpy(values.copy())).numpy()
            initializer.CopyFrom(numpy_helper.from_array(new, initializer.name))
