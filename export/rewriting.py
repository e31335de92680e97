"""An ONNX graph taken apart to be rewritten, and put together again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

SMALLEST: Final = 2048
"""Constants of fewer numbers stay float32: biases, norms and small tables weigh nothing, and some are sensitive."""
PRODUCTS: Final = ("MatMul", "Gemm")


@dataclass
class Graph:
    """A graph being rewritten: its nodes, its constants as arrays, and the names of its outputs."""

    nodes: list[onnx.NodeProto]
    constants: dict[str, NDArray[Any]]
    outputs: frozenset[str]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "Graph":
        """Take a model apart."""
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        outputs = frozenset(value.name for value in model.graph.output)
        return cls([_copied(node) for node in model.graph.node], constants, outputs)

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a tensor."""
        return [node for node in self.nodes if name in node.input]

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """Return the one node that reads a tensor; None where more do, or it leaves the graph."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def is_product(self, node: onnx.NodeProto) -> bool:
        """Say whether a node multiplies what is computed by a large constant matrix, and at most adds a constant vector."""
        if node.op_type not in PRODUCTS or node.input[0] in self.constants:
            return False
        if any(attribute.name != "transB" and _differs(attribute) for attribute in node.attribute):
            return False
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and (bias not in self.constants or self.constants[bias].ndim != 1):
            return False
        weight = self.constants.get(node.input[1])
        return weight is not None and weight.ndim == 2 and weight.size >= SMALLEST and weight.dtype == np.float32

    def put_into(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return a copy of `model` with these nodes and those of the constants that something reads."""
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        del changed.graph.node[:], changed.graph.initializer[:]
        changed.graph.node.extend(self.nodes)
        read = _names_read(self.nodes)
        changed.graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in self.constants.items() if name in read
        )
        return changed


def is_transposed(product: onnx.NodeProto) -> bool:
    """Say whether a product reads its weight as (outputs, inputs)."""
    return any(attribute.name == "transB" and attribute.i for attribute in product.attribute)


def _differs(attribute: onnx.AttributeProto) -> bool:
    """Say whether an attribute of a Gemm is not what leaves a plain product: alpha and beta 1, transA 0."""
    plain = {"alpha": 1.0, "beta": 1.0}.get(attribute.name, 0)
    given: float = helper.get_attribute_value(attribute)
    return given != plain


def _names_read(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Return the tensors that nodes read, those in branches included."""
    read: set[str] = set()
    for node in nodes:
        read |= set(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                read |= _names_read(attribute.g.node)
    return read


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied
