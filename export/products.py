"""8-bit arithmetic whose scales are fixed at export, so that no row's numbers depend on the rows beside it.

x W + b, with W constant, becomes (s_x s_w) (q_x - z) q_w + b: activations as uint8 with one scale s_x and zero point z a tensor,
from their range in real decodes; weights as int8 with a scale s_w an output. The sums are whole numbers, so they are exact, and
the same in any order and beside any neighbours. (A scale found at run time, as in ONNX Runtime's dynamic quantisation, spans the
whole batch.) Jacob et al. 2018, arXiv:1712.05877, eq. 4; the weights symmetric as there in section 3.

Weights have 7 bits, -63 to 63. x86 processors without VNNI add two products of a uint8 and an int8 in 16 bits and cut what
does not fit: 2 * 255 * 127 does not, 2 * 255 * 63 does. So the answers of a bundle are the same on every processor.
Measured with 8-bit weights on such a processor, log-probs were off by up to 2.7; with 7-bit ones by 0.3.

What is no product of a constant stays float32: attention, gates, normalisation, the recurrent operator of the encoder. Its
large constants are stored in 8 bits all the same.
"""

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.calibration import Range, Ranges
from export.rewriting import PRODUCTS, Graph, is_transposed
from export.storage import integers_of, store

LARGEST_FACTOR: Final = 63
"""The largest integer of a weight in a product; see above."""
LARGEST_ACTIVATION: Final = 255
LARGEST_TIED_SCALE: Final = 2.0
CONTRIB: Final = "com.microsoft"


def products_of(model: onnx.ModelProto) -> list[str]:
    """Return the names of the activations that 8-bit products will read: what `quantise` wants ranges of."""
    graph = Graph.of(model)
    return sorted({node.input[0] for node in graph.nodes if graph.is_product(node)})


def quantise(model: onnx.ModelProto, ranges: Ranges, migration: float) -> onnx.ModelProto:
    """Return a graph whose products with constants compute in 8 bits, and whose large constants are stored in 8.

    Args:
        model: float32.
        ranges: of each tensor that `products_of` names.
        migration: 0 to 1, how much of the differences between channels moves into the weights; SmoothQuant's alpha
            (arXiv:2211.10438, eq. 4).
    """
    graph = Graph.of(model)
    ranges = _even_out(graph, dict(ranges), migration)
    _multiply_integers(graph, ranges)
    store(graph)
    changed = graph.put_into(model)
    if not any(opset.domain == CONTRIB for opset in changed.opset_import):
        changed.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return changed


# ---- channels of different sizes


def _even_out(graph: Graph, ranges: dict[str, Range], migration: float) -> dict[str, Range]:
    """Move scale from the channels that a product reads into its weights, where what makes them can be scaled as well.

    (W_1 x) / s and s W_2 give the same numbers; with the right s, the channels between are alike and 8 bits do for all of them.
    """
    for second in [node for node in graph.nodes if graph.is_product(node)]:
        makers = _makers(graph, second.input[0])
        if not makers:
            continue
        found = ranges[second.input[0]]
        outputs = _by_outputs(graph, second)
        peaks = np.maximum(np.maximum(-found.low, found.high), 1e-6)
        scale = peaks**migration / np.maximum(np.abs(outputs).max(1), 1e-6) ** (1 - migration)
        scale = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
        if len(graph.readers(second.input[1])) > 1:
            # A table is looked up in the same integers, and must keep its small channels.
            scale = scale.clip(1 / LARGEST_TIED_SCALE, LARGEST_TIED_SCALE)
        for maker in makers:
            _scale_outputs(graph, maker, 1 / scale)
        _scale_inputs(graph, second, scale)
        ranges[second.input[0]] = Range(found.low / scale, found.high / scale)
    return ranges


def _makers(graph: Graph, name: str) -> list[onnx.NodeProto]:
    """Return the nodes whose constants scale a tensor's channels, the last first; none where something else makes it or reads it.

    These are a product, a bias added to it, or a layer norm, with a ReLU behind it or without: relu(x / s) = relu(x) / s, s being
    above 0.
    """
    node = next((node for node in graph.nodes if name in node.output), None)
    if node is None or graph.only_reader(name) is None:
        return []
    if node.op_type == "Relu":
        return _makers(graph, node.input[0])
    own = [constant for constant in node.input if constant in graph.constants]
    if any(len(graph.readers(constant)) > 1 for constant in own):
        return []
    if graph.is_product(node) or (node.op_type == "LayerNormalization" and len(own) == len(node.input) - 1):
        return [node]
    if node.op_type == "Add" and len(own) == 1 and graph.constants[own[0]].ndim == 1:
        before = _makers(graph, next(other for other in node.input if other not in own))
        return [node, *before] if before and before[0].op_type in PRODUCTS else []
    return []


def _scale_outputs(graph: Graph, maker: onnx.NodeProto, factors: NDArray[np.float32]) -> None:
    """Scale the channels that a node makes, by its constants."""
    if not graph.is_product(maker):
        for name in maker.input:
            if name in graph.constants:
                graph.constants[name] = graph.constants[name] * factors
        return
    weight = maker.input[1]
    graph.constants[weight] = graph.constants[weight] * (factors[:, None] if is_transposed(maker) else factors)
    if len(maker.input) > 2:
        bias = f"{maker.output[0]}.bias"
        graph.constants[bias] = graph.constants[maker.input[2]] * factors
        maker.input[2] = bias


def _scale_inputs(graph: Graph, product: onnx.NodeProto, factors: NDArray[np.float32]) -> None:
    """Scale the weight of a product; where a table is tied to it, what is looked up is scaled back."""
    old = product.input[1]
    new = f"{product.output[0]}.weight"
    graph.constants[new] = graph.constants[old] * (factors if is_transposed(product) else factors[:, None])
    lookups = [node for node in graph.readers(old) if node.op_type == "Gather" and node.input[0] == old]
    product.input[1] = new
    if not is_transposed(product) or len(lookups) != len(graph.readers(old)):
        return
    back = f"{new}.back"
    graph.constants[back] = 1 / factors
    for lookup in lookups:
        scaled = f"{lookup.output[0]}.scaled"
        following = helper.make_node("Mul", [scaled, back], [lookup.output[0]], f"{lookup.name}.back")
        lookup.input[0], lookup.output[0] = new, scaled
        graph.nodes.insert(graph.nodes.index(lookup) + 1, following)


# ---- products


def _multiply_integers(graph: Graph, ranges: Ranges) -> None:
    """Replace every product by MatMulIntegerToFloat, its bias within."""
    nodes: list[onnx.NodeProto] = []
    quantised: set[str] = set()
    done: set[str] = set()
    for node in graph.nodes:
        if node.output[0] in done:
            continue
        if not graph.is_product(node):
            nodes.append(node)
            continue
        activation = node.input[0]
        if activation not in quantised:
            quantised.add(activation)
            nodes.append(_quantised(graph, activation, ranges[activation]))
        bias, output = _bias_of(graph, node)
        done.add(output)
        weight, before = _integer_weight(graph, node)
        nodes += before
        inputs = [
            f"{activation}.uint8",
            weight,
            f"{activation}.scale",
            f"{node.input[1]}.scale",
            f"{activation}.zero",
            f"{node.input[1]}.zero",
            *([bias] if bias else []),
        ]
        nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [output], node.name, domain=CONTRIB))
    graph.nodes = nodes


def _quantised(graph: Graph, activation: str, found: Range) -> onnx.NodeProto:
    """Return the node that makes uint8 of an activation, 0 among what it can hold exactly."""
    low, high = min(float(found.low.min()), 0.0), max(float(found.high.max()), 0.0)
    scale = np.float32((high - low) / LARGEST_ACTIVATION or 1.0)
    parts = (f"{activation}.scale", f"{activation}.zero")
    graph.constants[parts[0]] = np.array(scale)
    graph.constants[parts[1]] = np.array(round(-low / float(scale)), np.uint8)
    return helper.make_node("QuantizeLinear", [activation, *parts], [f"{activation}.uint8"], f"{activation}.quantise")


def _integer_weight(graph: Graph, product: onnx.NodeProto) -> tuple[str, list[onnx.NodeProto]]:
    """Add a weight's integers and scales, and return the name of the integers (inputs, outputs) and the nodes that make them.

    They are stored as the weight was. Where that was the other way round, a table that is tied to the product can look rows up
    in the same integers; ONNX Runtime turns them round once, when it loads the graph.
    """
    name = product.input[1]
    turned = f"{name}.turned"
    if f"{name}.int8" not in graph.constants:
        weight = graph.constants[name]
        integers, scales = integers_of(weight, 0 if is_transposed(product) else 1, LARGEST_FACTOR)
        graph.constants |= {f"{name}.int8": integers, f"{name}.scale": scales}
        graph.constants[f"{name}.zero"] = np.zeros(len(scales), np.int8)
    elif is_transposed(product):
        return turned, []
    if not is_transposed(product):
        return f"{name}.int8", []
    return turned, [helper.make_node("Transpose", [f"{name}.int8"], [turned], f"{name}.turn", perm=[1, 0])]


def _bias_of(graph: Graph, product: onnx.NodeProto) -> tuple[str, str]:
    """Return the bias of a product, "" where it has none, and the tensor that holds the sum."""
    if len(product.input) > 2 and product.input[2]:
        return product.input[2], product.output[0]
    reader = graph.only_reader(product.output[0])
    if reader is not None and reader.op_type == "Add":
        other = next((name for name in reader.input if name in graph.constants), "")
        if other and graph.constants[other].ndim == 1:
            return other, reader.output[0]
    return "", product.output[0]


def _by_outputs(graph: Graph, product: onnx.NodeProto) -> NDArray[np.float32]:
    """Return the weight as (inputs, outputs)."""
    weight = graph.constants[product.input[1]]
    return weight.T if is_transposed(product) else weight
