"""8-bit weights: rounded in PyTorch, stored as integers in ONNX, float32 again when ONNX Runtime loads the graph.

Storage is 8-bit and arithmetic float32, so a row's numbers never depend on the rows beside it, and the PyTorch model that
parity compares with has the very weights of the bundle.

A scale has 16 significant bits and an integer 7, so their product is an exact float32: whatever the exporter does to a rounded
matrix - transposing, stacking, reordering rows - the integers and scales can be read off it again without a loss.
"""

from typing import Final, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

SMALLEST: Final = 2048
"""Tensors of fewer numbers stay float32: biases, norms and small tables weigh nothing, and some are sensitive."""
LARGEST_INTEGER: Final = 127


class Stored(NamedTuple):
    """A float32 matrix or tensor as integers: integers * scales along `axis`.

    Attributes:
        integers: int8; for more than 2 axes that end in rows, flattened to (rows, columns).
        scales: one float32 a position of `axis`.
        axis: which axis of `integers` the scales belong to.
    """

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int


def round_weights(model: nn.Module) -> None:
    """Round the large weights of a model in place to what 8 bits with one scale an output can hold, symmetric around 0.

    Outputs are rows: axis 0 of a convolution, all axes but the last of matrices, stacks of them and embedding tables.
    """
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2 and weight.numel() >= SMALLEST:
                weight.copy_(rounded(weight))


def rounded(weight: Tensor) -> Tensor:
    """Return the nearest float32 tensor that is integers from -127 to 127 times a scale of 16 significant bits a row."""
    summed = (1, 2, 3) if weight.ndim == 4 else (-1,)
    peak = weight.abs().amax(summed, keepdim=True)
    scale = round_up_to_16_bits(torch.where(peak > 0, peak / LARGEST_INTEGER, torch.ones_like(peak)))
    return (weight / scale).round().clamp(-LARGEST_INTEGER, LARGEST_INTEGER) * scale


def round_up_to_16_bits(scale: Tensor) -> Tensor:
    """Return the smallest numbers not below `scale` (positive float32) whose last 8 of 24 significant bits are 0."""
    bits = scale.contiguous().view(torch.int32)
    return ((bits + 0xFF) & ~0xFF).view(torch.float32)


def store_in_8_bits(model: onnx.ModelProto) -> None:
    """Replace every float32 initializer that `round_weights` has rounded by int8 and DequantizeLinear, in place.

    Initializers that are no exact multiples of a scale stay as they are.
    """
    graph = model.graph
    nodes: list[onnx.NodeProto] = []
    for initializer in list(graph.initializer):
        if initializer.data_type != onnx.TensorProto.FLOAT or len(initializer.dims) < 2:
            continue
        values = numpy_helper.to_array(initializer)
        stored = as_integers(values) if values.size >= SMALLEST else None
        if stored is None:
            continue
        graph.initializer.remove(initializer)
        nodes += _dequantizing_nodes(graph, initializer.name, stored, values.shape)
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)


def as_integers(values: NDArray[np.float32]) -> Stored | None:
    """Read the integers and scales off a rounded tensor; None where it is not one.

    The exporter may have transposed a matrix, so both axes are tried. The largest integer of every row is 127, which tells
    the scale.
    """
    rows = values.reshape(values.shape[0], -1) if values.ndim == 4 else values.reshape(-1, values.shape[-1])
    along_rows = _integers_of_rows(rows)
    if along_rows is not None:
        integers, scales = along_rows
        return Stored(integers.reshape(values.shape) if values.ndim == 4 else integers, scales, 0)
    along_columns = _integers_of_rows(np.ascontiguousarray(values.T)) if values.ndim == 2 else None
    if along_columns is None:
        return None
    integers, scales = along_columns
    return Stored(np.ascontiguousarray(integers.T), scales, 1)


def _integers_of_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    peaks = np.abs(rows).max(1)
    scales = np.where(peaks > 0, peaks / np.float32(LARGEST_INTEGER), np.float32(1)).astype(np.float32)
    integers = np.rint(rows / scales[:, None])
    if not np.array_equal(integers * scales[:, None], rows):
        return None
    return integers.astype(np.int8), scales


def _dequantizing_nodes(
    graph: onnx.GraphProto, name: str, stored: Stored, shape: tuple[int, ...]
) -> list[onnx.NodeProto]:
    """Add the integers and scales to the graph, and return the nodes that compute the tensor `name` from them."""
    parts = (f"{name}.int8", f"{name}.scale")
    graph.initializer.append(numpy_helper.from_array(stored.integers, parts[0]))
    graph.initializer.append(numpy_helper.from_array(stored.scales, parts[1]))
    if stored.integers.shape == shape:
        return [helper.make_node("DequantizeLinear", parts, [name], axis=stored.axis)]
    graph.initializer.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), f"{name}.shape"))
    return [
        helper.make_node("DequantizeLinear", parts, [f"{name}.rows"], axis=stored.axis),
        helper.make_node("Reshape", [f"{name}.rows", f"{name}.shape"], [name]),
    ]
