"""The end of every decoder step, node by node: log-softmax, the query, the bans, the k best.

Written in ONNX operators rather than traced, for they are much of a small step, and each path is taken only where it is
needed:

* Bans mostly are none, and few where there are any. A ScatterElements would copy the whole table of log-probs for them; where
  there are up to FEW_BANS, so many candidates more are taken and the banned ones dropped.
* The k best of a fixed vocabulary are sought in two rounds: the k blocks with the largest maxima hold them all. If a token of
  another block were among the k best, each of those k blocks would hold one that is better, or as good with a smaller id.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

FEW_BANS: Final = 16
"""Up to so many bans a row, dropping them among more candidates is faster than a copy of the table."""
BLOCK_SIZES: Final = range(16, 65)
BEST_BLOCK_SIZE: Final = 24
"""The two rounds look at V / B blocks and k B tokens: least at B = sqrt(V / k), for 10 of 6,000."""
LOGITS: Final = "logits"
PREFIX: Final = "select_"
"""Of every node and constant of the selection."""


def append_selection(model: onnx.ModelProto) -> None:
    """Make a graph that ends in `logits` (R, V) one that ends as the step contract says, in place.

    Adds the inputs `banned` (R, M), `query` (R,) and `candidates` () int64, and puts the outputs `log_prob`, `candidate` (R, k)
    and `query_log_prob` (R,) in the place of `logits`.

    Args:
        model: whose first output is `logits`; V is a number, or free where the vocabulary is the source.
    """
    graph = model.graph
    assert graph.output[0].name == LOGITS
    size = graph.output[0].type.tensor_type.shape.dim[1].dim_value  # 0 where it is free
    nodes = _Nodes()
    nodes.add("LogSoftmax", [LOGITS], "log_probs", axis=-1)
    asked = nodes.add("Unsqueeze", ["query", nodes.constant([1])])
    nodes.add(
        "Squeeze", [nodes.add("GatherElements", ["log_probs", asked], axis=1), nodes.constant([1])], "query_log_prob"
    )
    nodes.add("Reshape", ["candidates", nodes.constant([1])], "k")
    if size:
        _ban_among_candidates(nodes, size, _block_size(size))
    else:
        allowed = _ban_by_scatter(nodes)
        nodes.add_many("TopK", [allowed, "k"], ["log_prob", "candidate"], axis=-1)
    graph.node.extend(nodes.nodes)
    graph.initializer.extend(nodes.constants)
    graph.input.extend(
        [
            helper.make_tensor_value_info("banned", onnx.TensorProto.INT64, ["R", "M"]),
            helper.make_tensor_value_info("query", onnx.TensorProto.INT64, ["R"]),
            helper.make_tensor_value_info("candidates", onnx.TensorProto.INT64, []),
        ]
    )
    logits, *rest = list(graph.output)
    graph.value_info.append(logits)
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("log_prob", onnx.TensorProto.FLOAT, ["R", "k"]),
            helper.make_tensor_value_info("candidate", onnx.TensorProto.INT64, ["R", "k"]),
            helper.make_tensor_value_info("query_log_prob", onnx.TensorProto.FLOAT, ["R"]),
            *rest,
        ]
    )


def cut_selection(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a step that ends in `logits` again: `append_selection` undone."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    graph = cut.graph
    size = next(value for value in model.graph.value_info if value.name == LOGITS)
    rest = list(graph.output)[3:]
    nodes = [node for node in graph.node if not node.name.startswith(PREFIX)]
    constants = [tensor for tensor in graph.initializer if not tensor.name.startswith(PREFIX)]
    inputs = list(graph.input)[:-3]
    del graph.node[:], graph.initializer[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    graph.input.extend(inputs)
    graph.output.extend([size, *rest])
    return cut


class _Nodes:
    """Nodes and constants under way, of the graph or of a branch of an If, whose names begin with a prefix of its own."""

    def __init__(self, prefix: str = "select") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.prefix = prefix

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Append a node of one output, and return its name."""
        output = output or f"{self.prefix}_{len(self.nodes)}"
        return self.add_many(operator, inputs, [output], **attributes)[0]

    def add_many(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        """Append a node of several outputs, and return their names."""
        name = f"{self.prefix}_{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, outputs, name, **attributes))
        return outputs

    def constant(self, value: ArrayLike) -> str:
        """Return the name of a constant: float32 where `value` is float, else int64."""
        array = np.asarray(value)
        name = f"{self.prefix}_constant_{len(self.constants)}"
        kind = np.float32 if array.dtype.kind == "f" else np.int64
        self.constants.append(numpy_helper.from_array(array.astype(kind), name))
        return name

    def branch(self, outputs: Sequence[str]) -> onnx.GraphProto:
        """Return these nodes as a branch of an If that gives (R, k) float32 and int64."""
        kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64)
        values = [
            helper.make_tensor_value_info(name, kind, ["R", "k"]) for name, kind in zip(outputs, kinds, strict=True)
        ]
        return helper.make_graph(self.nodes, self.prefix, [], values, self.constants)


def _ban_among_candidates(nodes: _Nodes, size: int, block: int | None) -> None:
    """Choose the way by how many bans a row has: none, few, many."""
    nodes.add("Shape", ["banned"], "bans", start=1)  # (1,), M
    none, few, many = _Nodes("none"), _Nodes("few"), _Nodes("many")
    best = _best(none, "k", size, block)
    _drop_banned(few, size, block)
    many.add_many("TopK", [_ban_by_scatter(many), "k"], ["many_log_prob", "many_candidate"], axis=-1)
    some = _Nodes("some")
    is_few = some.add("Squeeze", [some.add("LessOrEqual", ["bans", some.constant([FEW_BANS])])])
    some.add_many(
        "If",
        [is_few],
        ["some_log_prob", "some_candidate"],
        then_branch=few.branch(["few_log_prob", "few_candidate"]),
        else_branch=many.branch(["many_log_prob", "many_candidate"]),
    )
    is_none = nodes.add("Squeeze", [nodes.add("Equal", ["bans", nodes.constant([0])])])
    nodes.add_many(
        "If",
        [is_none],
        ["log_prob", "candidate"],
        then_branch=none.branch(best),
        else_branch=some.branch(["some_log_prob", "some_candidate"]),
    )


def _ban_by_scatter(nodes: _Nodes) -> str:
    """Return a copy of the log-probs with -inf at the bans."""
    minus = numpy_helper.from_array(np.array([-np.inf], np.float32))
    filling = nodes.add("ConstantOfShape", [nodes.add("Shape", ["banned"])], value=minus)
    return nodes.add("ScatterElements", ["log_probs", "banned", filling], axis=1)


def _drop_banned(nodes: _Nodes, size: int, block: int | None) -> None:
    """Take k + M candidates, and the k best of those that are not banned."""
    more = nodes.add("Min", [nodes.add("Add", ["k", "bans"]), nodes.constant([size])])
    log_probs, ids = _best(nodes, more, size, block)
    pairs = nodes.add(
        "Equal",
        [nodes.add("Unsqueeze", [ids, nodes.constant([2])]), nodes.add("Unsqueeze", ["banned", nodes.constant([1])])],
    )
    hits = nodes.add(
        "ReduceSum", [nodes.add("Cast", [pairs], to=onnx.TensorProto.FLOAT), nodes.constant([2])], keepdims=0
    )
    is_banned = nodes.add("Greater", [hits, nodes.constant(0.0)])
    allowed = nodes.add("Where", [is_banned, nodes.constant(-np.inf), log_probs])
    _, places = nodes.add_many("TopK", [allowed, "k"], ["few_log_prob", "few_places"], axis=-1)
    nodes.add("GatherElements", [ids, places], "few_candidate", axis=1)


def _best(nodes: _Nodes, k: str, size: int, block: int | None) -> Sequence[str]:
    """Return the k best log-probs of each row and their ids, best first, ties to the smaller id."""
    names = [f"{nodes.prefix}_best", f"{nodes.prefix}_best_id"]
    if block is None:
        return nodes.add_many("TopK", ["log_probs", k], names, axis=-1)
    blocks = size // block
    table = nodes.add("Reshape", ["log_probs", nodes.constant([0, blocks, block])])
    peaks = nodes.add("ReduceMax", [table, nodes.constant([2])], keepdims=0)  # (R, V / B)
    count = nodes.add("Min", [k, nodes.constant([blocks])])
    _, chosen = nodes.add_many("TopK", [peaks, count], [f"{nodes.prefix}_peak", f"{nodes.prefix}_chosen"], axis=-1)
    # In the order of ids, so that ties between blocks go to the smaller one.
    at, _ = nodes.add_many(
        "TopK", [chosen, count], [f"{nodes.prefix}_block", f"{nodes.prefix}_order"], axis=-1, largest=0
    )
    fetched = nodes.add(
        "GatherND", [table, nodes.add("Unsqueeze", [at, nodes.constant([2])])], batch_dims=1
    )  # (R, k, B)
    flat = nodes.add("Reshape", [fetched, nodes.constant([0, -1])])
    best, places = nodes.add_many("TopK", [flat, k], [names[0], f"{nodes.prefix}_place"], axis=-1)
    which = nodes.add("Div", [places, nodes.constant(block)])
    first = nodes.add(
        "Mul", [nodes.add("Sub", [nodes.add("GatherElements", [at, which], axis=1), which]), nodes.constant(block)]
    )
    return [best, nodes.add("Add", [first, places], names[1])]


def _block_size(size: int) -> int | None:
    """Return the divisor of a vocabulary's size that is best for the two rounds; None where it has none near."""
    divisors = [block for block in BLOCK_SIZES if size % block == 0]
    return min(divisors, key=lambda block: abs(block - BEST_BLOCK_SIZE), default=None)
