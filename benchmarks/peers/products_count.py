"""How many multiply-adds the products of a graph are, counted in a run of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from export.constants import constants_of

INTEGER: Final = "MatMulIntegerToFloat"
PRODUCTS: Final = ("MatMul", "Gemm", INTEGER)


class MultiplyAdds(NamedTuple):
    """Of one run of a graph."""

    integer: int
    floating: int


def multiply_adds(graph: Path, feeds: Mapping[str, NDArray[Any]]) -> MultiplyAdds:
    """Run a graph once and count what its products multiply: each result's size times what it was summed over.

    Products of constants alone, which are done when a graph is loaded, do not count; nor do the recurrent operator and
    convolutions, which steps do not have.
    """
    model = onnx.load(graph)
    known = constants_of(model)
    products = [
        node for node in model.graph.node if node.op_type in PRODUCTS and not all(name in known for name in node.input)
    ]
    outputs = {value.name for value in model.graph.output}
    given = {value.name for value in model.graph.input}
    wanted = {name for node in products for name in (node.input[0], node.output[0])} - outputs - given - set(known)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    values = {**known, **feeds, **dict(zip(names, session.run(None, dict(feeds)), strict=True))}
    counts = {True: 0, False: 0}
    for node in products:
        counts[node.op_type == INTEGER] += int(np.size(values[node.output[0]]) * np.shape(values[node.input[0]])[-1])
    return MultiplyAdds(counts[True], counts[False])
