"""A translation bundle's graphs as people export them: python -m benchmarks.peers.float_graphs models/NAME/1 build/peers/NAME.

float32 throughout, of the very weights that are served; the step takes one row of memory and states for each hypothesis, already
gathered, and gives logits. Needs the extra `train`.
"""

from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from onnx import helper

from export.constants import constants_of
from export.rewriting import Graph
from export.selection import LOGITS, cut_selection
from serving.bundle import load_bundle

ROWS: Final = ("source", "parent")
"""The inputs of a step that say which row to read; gone here."""


def float_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that multiplies in float32 where `model` does in 8 bits, of the same weights."""
    graph, known = Graph.of(model), constants_of(model)
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        if all(name in known for name in node.input):
            graph.constants |= {name: known[name] for name in node.output if name in known}
        elif node.op_type == "MatMulIntegerToFloat":
            nodes += _product(graph, node, known)
        elif node.op_type != "QuantizeLinear":
            nodes.append(node)
    graph.nodes = nodes
    _look_up_floats(graph, known)
    floating = graph.put_into(model)
    onnx.checker.check_model(floating)
    return floating


def _product(graph: Graph, node: onnx.NodeProto, known: dict[str, NDArray[Any]]) -> list[onnx.NodeProto]:
    activation = node.input[0].removesuffix(".uint8")
    stored = node.input[1]
    name = stored.rpartition(".")[0]
    weight = known[name].T if stored.endswith(".turned") else known[name]
    graph.constants[f"{name}.float"] = np.ascontiguousarray(weight)
    output = node.output[0]
    if len(node.input) < 7:
        return [helper.make_node("MatMul", [activation, f"{name}.float"], [output], node.name)]
    product = f"{output}.product"
    return [
        helper.make_node("MatMul", [activation, f"{name}.float"], [product], node.name),
        helper.make_node("Add", [product, node.input[6]], [output], f"{node.name}.bias"),
    ]


def _look_up_floats(graph: Graph, known: dict[str, NDArray[Any]]) -> None:
    """Look rows up in float32 tables: Gather, Cast, Gather and Mul become one Gather."""
    for lookup in [node for node in graph.nodes if node.op_type == "Gather" and node.input[0].endswith(".int8")]:
        table, output = lookup.input[0].removesuffix(".int8"), lookup.output[0].removesuffix(".int8")
        graph.constants[f"{table}.table"] = known[table]
        parts = {f"{output}.int8", f"{output}.whole", f"{output}.scale", output}
        place = graph.nodes.index(lookup)
        one = helper.make_node("Gather", [f"{table}.table", lookup.input[1]], [output], lookup.name)
        graph.nodes[place] = one
        graph.nodes = [node for node in graph.nodes if node is one or not set(node.output) & parts]


def logits_step(step: onnx.ModelProto) -> onnx.ModelProto:
    """Return a step of gathered rows that ends in logits: no selection, no attention, no gathers."""
    cut = float_graph(cut_selection(step))
    graph = cut.graph
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        root = renamed.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == "Reshape" and node.input[0] in ROWS:
            renamed[node.output[0]] = root
        elif node.op_type == "Gather" and renamed.get(node.input[1], node.input[1]) in ROWS:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    for node in kept:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    outputs = [value for value in graph.output if value.name == LOGITS or value.name.startswith("next_")]
    inputs = [value for value in graph.input if value.name not in ROWS]
    del graph.node[:], graph.output[:], graph.input[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.output.extend(outputs)
    for value in inputs:
        value.type.tensor_type.shape.dim[0].dim_param = "R"
    graph.input.extend(inputs)
    onnx.checker.check_model(cut)
    return cut


def float_graphs(
    folder: Annotated[Path, typer.Argument(help="The folder of a translation bundle.")],
    output: Annotated[Path, typer.Argument(help="The folder that encoder.onnx and step.onnx go into.")],
) -> None:
    """Write a bundle's graphs as people export them."""
    bundle = load_bundle(folder)
    names = next(iter(bundle.manifest.graphs.values()))
    output.mkdir(parents=True, exist_ok=True)
    onnx.save(float_graph(onnx.load(bundle.path(names.encoder))), output / "encoder.onnx")
    onnx.save(logits_step(onnx.load(bundle.path(names.decoder_step))), output / "step.onnx")


if __name__ == "__main__":
    typer.run(float_graphs)
