"""Constants stored in 8 bits: an integer a number, and a scale an output; in use they are float32 again."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.rewriting import PRODUCTS, SMALLEST, Graph, is_transposed

LARGEST_STORED: Final = 127
"""The largest integer of a weight that is float32 again when it is used."""


def store_in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 graph whose large constants are stored in 8 bits, and which computes in float32 all the same."""
    graph = Graph.of(model)
    store(graph)
    return graph.put_into(model)


def store(graph: Graph) -> None:
    """Store the large float32 constants that are left as int8: tables are looked up in it, the rest is float32 from loading on."""
    nodes: list[onnx.NodeProto] = []
    for name, array in list(graph.constants.items()):
        if array.dtype != np.float32 or array.ndim < 2 or array.size < SMALLEST:
            continue
        readers = graph.readers(name)
        if readers and all(node.op_type == "Gather" and node.input[0] == name for node in readers):
            _look_up(graph, name, readers)
        elif readers:
            nodes += _restored(graph, name)
    graph.nodes = nodes + graph.nodes


def _look_up(graph: Graph, table: str, lookups: Sequence[onnx.NodeProto]) -> None:
    """Look rows up in integers, and scale what was found; a tied product's integers serve where there are some."""
    if f"{table}.int8" not in graph.constants:
        integers, scales = integers_of(graph.constants[table], 0, LARGEST_STORED)
        graph.constants |= {f"{table}.int8": integers, f"{table}.scale": scales}
    graph.constants[f"{table}.column"] = graph.constants[f"{table}.scale"][:, None]
    for lookup in lookups:
        at, output, place = lookup.input[1], lookup.output[0], graph.nodes.index(lookup)
        graph.nodes[place : place + 1] = [
            helper.make_node("Gather", [f"{table}.int8", at], [f"{output}.int8"], f"{lookup.name}.int8"),
            helper.make_node(
                "Cast", [f"{output}.int8"], [f"{output}.whole"], f"{lookup.name}.cast", to=onnx.TensorProto.FLOAT
            ),
            helper.make_node("Gather", [f"{table}.column", at], [f"{output}.scale"], f"{lookup.name}.scale"),
            helper.make_node("Mul", [f"{output}.whole", f"{output}.scale"], [output], f"{lookup.name}.mul"),
        ]


def _restored(graph: Graph, name: str) -> list[onnx.NodeProto]:
    """Return the nodes that make a constant of its integers, which ONNX Runtime runs once, when it loads the graph.

    Cast and Mul, for it would leave a DequantizeLinear to every run.
    """
    array = graph.constants.pop(name)
    by_columns = any(node.op_type in PRODUCTS and not is_transposed(node) for node in graph.readers(name))
    if by_columns and array.ndim == 2:
        integers, scales = integers_of(array, 1, LARGEST_STORED)
        shape: tuple[int, ...] = (1, array.shape[1])
    else:
        outputs = array.shape[:1] if array.ndim == 4 else array.shape[:-1]  # of a convolution, or of stacked matrices
        integers, scales = integers_of(array.reshape(math.prod(outputs), -1), 0, LARGEST_STORED)
        shape = (*outputs, *[1] * (array.ndim - len(outputs)))
    graph.constants |= {f"{name}.int8": integers.reshape(array.shape), f"{name}.scale": scales.reshape(shape)}
    return [
        helper.make_node("Cast", [f"{name}.int8"], [f"{name}.whole"], f"{name}.cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name], f"{name}.mul"),
    ]


def integers_of(weight: NDArray[np.float32], axis: int, largest: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the nearest integers from -largest to largest of the weight's shape, and their scales along `axis`."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    peaks = np.abs(weight).max(others)
    scales = np.where(peaks > 0, peaks / largest, 1).astype(np.float32)
    shape = [-1 if position == axis else 1 for position in range(weight.ndim)]
    return np.rint(weight / scales.reshape(shape)).clip(-largest, largest).astype(np.int8), scales
