"""8-bit convolutional networks: every convolution, sum and concatenation on integers, with the scales of real images.

ONNX Runtime's own tool places the scales (QuantizeLinear and DequantizeLinear around each operator), and its optimiser fuses
them into integer operators when it loads the graph. Weights have 7 bits and a scale an output, as in `export.products` and for
its reason.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from serving.decoding.step import Tensors

OPERATORS: Final = ("Conv", "Add", "Clip", "Relu", "MaxPool", "Concat")
FIRST_IN_FLOAT: Final = 3
"""The first convolutions stay float32: they are few numbers of the whole, and what they lose nothing after them gets back."""
IMAGES: Final = 64


def has_convolutions(model: onnx.ModelProto) -> bool:
    """Say whether there is a convolution in a graph."""
    return any(node.op_type == "Conv" for node in model.graph.node)


def quantise_convolutions(model: onnx.ModelProto, feeds: Sequence[Tensors]) -> onnx.ModelProto:
    """Return a graph whose convolutional network computes in 8 bits.

    Args:
        model: its other parts stay as they are.
        feeds: encoder inputs, of up to IMAGES images in all.
    """
    plain = _with_float_weights(model)
    network = _network(plain)
    convolutions = [node.name for node in plain.graph.node if node.op_type == "Conv"]
    kept = {*convolutions[:FIRST_IN_FLOAT]} | {node.name for node in plain.graph.node if node.name not in network}
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(plain, before)
        with _quiet():
            quantize_static(
                before,
                after,
                _Images(feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=sorted(kept),
                calibrate_method=CalibrationMethod.MinMax,
            )
        return onnx.load(after)


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Gives images one at a time."""

    def __init__(self, feeds: Sequence[Tensors]) -> None:
        single: Iterator[Tensors] = (
            {name: np.asarray(array)[at : at + 1] for name, array in feed.items()}
            for feed in feeds
            for at in range(_count(feed))
        )
        self._images = islice(single, IMAGES)

    def get_next(self) -> Tensors | None:
        """Return the next one; None at the end."""
        return next(self._images, None)


def _count(feed: Tensors) -> int:
    return len(np.asarray(next(iter(feed.values()))))


def _network(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes of the network: what stands before the first product of matrices."""
    nodes = takewhile(lambda node: node.op_type not in {"MatMul", "Gemm"}, model.graph.node)
    return [node.name for node in nodes if node.op_type in OPERATORS]


def _with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose constants that are stored in 8 bits are float32, for the tool to find them."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:]
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            integers, scale, zero = (constants[name] for name in node.input)
            assert scale.ndim == 0, f"{node.name}: one scale a tensor"
            weight = (integers.astype(np.float32) - np.float32(zero)) * scale
            plain.graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        else:
            plain.graph.node.append(node)
    _drop_unread(plain)
    return plain


def _drop_unread(model: onnx.ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tool's advice on other tools from users."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
