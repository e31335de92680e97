"""The one graph that moves rows on a device: take(first ++ second), along one axis.

ONNX Runtime computes on a device what stands in a graph, and nothing else; serving has no onnx package to write one with. So the
few bytes of this one are written here: a protobuf message is a sequence of fields, each a key (number << 3 | kind) and a value, a
varint (kind 0) or bytes behind their length (kind 2). The field numbers are those of onnx.proto.
"""

from typing import Final, Literal

ELEMENT_TYPES: Final = {"float32": 1, "uint8": 2, "int64": 7, "bool": 9, "float16": 10, "float64": 11}
"""onnx.proto, TensorProto.DataType."""
Axis = Literal[0, 1]
IR_VERSION: Final = 8
OPSET: Final = 13
_INTEGER_ATTRIBUTE: Final = 2


def take_graph(dtype: str, rank: int, axis: Axis) -> bytes:
    """Return a model: `taken` = Gather(Concat(`first`, `second`), `indices`), both along `axis`.

    Args:
        dtype: of `first`, `second` and `taken`; `indices` are int64.
        rank: of the same; `indices` have rank 1.
        axis: along which.
    """
    element = ELEMENT_TYPES[dtype]
    graph = (
        _bytes(1, _node("Concat", ("first", "second"), "both", axis))
        + _bytes(1, _node("Gather", ("both", "indices"), "taken", axis))
        + _bytes(2, b"take")
        + _bytes(11, _value("first", element, rank))
        + _bytes(11, _value("second", element, rank))
        + _bytes(11, _value("indices", ELEMENT_TYPES["int64"], 1))
        + _bytes(12, _value("taken", element, rank))
    )
    return _integer(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _integer(2, OPSET))


def _node(operator: str, inputs: tuple[str, ...], output: str, axis: int) -> bytes:
    attribute = _bytes(1, b"axis") + _integer(3, axis) + _integer(20, _INTEGER_ATTRIBUTE)
    names = b"".join(_bytes(1, name.encode()) for name in inputs)
    return names + _bytes(2, output.encode()) + _bytes(4, operator.encode()) + _bytes(5, attribute)


def _value(name: str, element: int, rank: int) -> bytes:
    """Describe a tensor by name, element type and rank; its sizes are left open."""
    shape = _bytes(1, b"") * rank
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _integer(1, element) + _bytes(2, shape)))


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Write an integer 7 bits at a time, the least first; the eighth bit says that more follow."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
