"""The constants of a graph in 8 bits, in float32 again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Arrays = dict[str, NDArray[Any]]
"""By name."""


def constants_of(model: onnx.ModelProto) -> Arrays:
    """Return every float32 constant of a graph by the name it had before 8 bits, and what is computed of constants alone."""
    known: Arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if all(name in known for name in node.input):
            result = _computed(node, [known[name] for name in node.input])
            if result is not None:
                known[node.output[0]] = result
    for name in [name.removesuffix(".int8") for name in known if name.endswith(".int8")]:
        scale = known.get(f"{name}.column", known.get(f"{name}.scale"))
        if scale is not None and name not in known:
            known[name] = _scaled(known[f"{name}.int8"], scale, turned=_is_turned(model, name))
    return known


def _computed(node: onnx.NodeProto, inputs: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    match node.op_type:
        case "Cast" if inputs[0].dtype == np.int8:
            return inputs[0].astype(np.float32)
        case "Mul":
            return np.asarray(inputs[0] * inputs[1])
        case "DequantizeLinear":
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            shape = [-1 if place == axis else 1 for place in range(inputs[0].ndim)] if inputs[1].ndim else []
            zero = inputs[2].astype(np.float32) if len(inputs) > 2 else np.zeros((), np.float32)
            whole = inputs[0].astype(np.float32) - zero.reshape(shape)
            return np.asarray(whole * inputs[1].reshape(shape))
    return None


def _is_turned(model: onnx.ModelProto, name: str) -> bool:
    """Say whether a product reads a weight the other way round than it is stored, (outputs, inputs)."""
    return any(f"{name}.turned" in node.output for node in model.graph.node)


def _scaled(integers: NDArray[Any], scale: NDArray[np.float32], *, turned: bool) -> NDArray[np.float32]:
    """Return integers times the scales of outputs, which are the rows of a weight that is turned, and else its columns."""
    return integers.astype(np.float32) * (scale.reshape(-1, 1) if turned else scale)
