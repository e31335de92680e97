"""The tensors of a pair of graphs, read off the files themselves and held against the contract of docs/bundle.md.

`beamstep export` knows what it traced; this is for graphs that another exporter wrote.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import onnxruntime

from serving.errors import BadBundle
from serving.manifest import TaskName, TensorSpec
from serving.runtime.opening import RUNTIME_TYPES, load_session

FLOATS: Final = ("float32", "float16")
ANY: Final = ("bool", "int64", *FLOATS)


class Tensor(NamedTuple):
    """Its dtypes, the letters of its leading axes, which may be free, and whether it must be there."""

    dtypes: tuple[str, ...]
    axes: str
    needed: bool = True


TEXT: Final = {"source_tokens": Tensor(("int64",), "NS"), "source_lengths": Tensor(("int64",), "N", needed=False)}
POINTS: Final = {"points": Tensor(("float64",), "NS"), "point_counts": Tensor(("int64",), "N", needed=False)}
ENCODER_INPUTS: Final[Mapping[TaskName, Mapping[str, Tensor]]] = {
    "translation": TEXT,
    "captioning": {"image": Tensor(("uint8",), "N")},
    "convex_hull": POINTS,
    "delaunay": POINTS,
    "tour": POINTS,
}
ENCODER_OUTPUTS: Final = {
    "memory": Tensor(FLOATS, "NS"),
    "memory_mask": Tensor(("bool",), "NS"),
    "memory.": Tensor(ANY, "NS", needed=False),
    "state.": Tensor(ANY, "N", needed=False),
}
STEP_INPUTS: Final = {
    "token": Tensor(("int64",), "R"),
    "parent": Tensor(("int64",), "R"),
    "source": Tensor(("int64",), "R"),
    "memory": Tensor(FLOATS, "NS"),
    "memory_mask": Tensor(("bool",), "NS"),
    "memory.": Tensor(ANY, "NS", needed=False),
    "state.": Tensor(ANY, "Q", needed=False),
    "banned": Tensor(("int64",), "RM"),
    "query": Tensor(("int64",), "R"),
    "candidates": Tensor(("int64",), ""),
}
STEP_OUTPUTS: Final = {
    "log_prob": Tensor(("float32",), "Rk"),
    "candidate": Tensor(("int64",), "Rk"),
    "query_log_prob": Tensor(("float32",), "R"),
    "next_state.": Tensor(ANY, "R", needed=False),
    "attention": Tensor(FLOATS, "RS"),
}
"""A name that ends in a dot is any name that begins so."""

Signature = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]
"""Inputs and outputs in the graph's own order."""


def encoder_signature(path: Path, task: TaskName) -> Signature:
    """Return the tensors of an encoder.

    Raises:
        BadBundle: it cannot be loaded, or breaks the contract; the message names the file and the tensor.
    """
    return _signature(path, ENCODER_INPUTS[task], ENCODER_OUTPUTS)


def step_signature(path: Path, encoder: Signature) -> Signature:
    """Return the tensors of a decoder step that goes with an encoder.

    Raises:
        BadBundle: as above; or it reads something that the encoder does not give, or loses a state.
    """
    inputs, outputs = _signature(path, STEP_INPUTS, STEP_OUTPUTS)
    given = {spec.name for spec in encoder[1]}
    read = {spec.name for spec in inputs if spec.name.startswith(("memory", "state."))}
    states = {spec.name for spec in inputs if spec.name.startswith("state.")}
    after = {spec.name.removeprefix("next_") for spec in outputs if spec.name.startswith("next_state.")}
    for names, fault in (
        (read - given, "are read, and the encoder does not give them"),
        ({name for name in given if name.startswith("state.")} - states, "are given by the encoder, and not read"),
        (states ^ after, "must be inputs, and outputs with next_ before the name"),
    ):
        if names:
            raise BadBundle(f"{path}: {', '.join(sorted(names))} {fault}")
    return inputs, outputs


def _signature(path: Path, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Signature:
    session = load_session(path)
    return (
        _specs(path, "input", session.get_inputs(), inputs),
        _specs(path, "output", session.get_outputs(), outputs),
    )


def _specs(
    path: Path, kind: str, nodes: Sequence[onnxruntime.NodeArg], contract: Mapping[str, Tensor]
) -> tuple[TensorSpec, ...]:
    names = {node.name for node in nodes}
    missing = [name for name, tensor in contract.items() if tensor.needed and name not in names]
    if missing:
        raise BadBundle(f"{path}: {kind} {', '.join(missing)} missing; it has {', '.join(sorted(names))}")
    return tuple(_spec(path, kind, node, contract) for node in nodes)


def _spec(path: Path, kind: str, node: Any, contract: Mapping[str, Tensor]) -> TensorSpec:
    head = f"{node.name.partition('.')[0]}." if "." in node.name else node.name
    where = f"{path}: {kind} {node.name}"
    if head not in contract:
        raise BadBundle(f"{where}: not in the contract; allowed: {', '.join(contract)}")
    tensor, dtype = contract[head], RUNTIME_TYPES.get(node.type, node.type)
    if dtype not in tensor.dtypes:
        raise BadBundle(f"{where}: {dtype}; allowed: {' or '.join(tensor.dtypes)}")
    if len(node.shape) < len(tensor.axes):
        raise BadBundle(f"{where}: {len(node.shape)} axes; it has {', '.join(tensor.axes)} at least")
    letters = [*tensor.axes, *[""] * (len(node.shape) - len(tensor.axes))]
    axes = [size if isinstance(size, int) else letter for size, letter in zip(node.shape, letters, strict=True)]
    if "" in axes:
        raise BadBundle(f"{where}: axis {axes.index('')} is free; allowed: a fixed size behind {tensor.axes}")
    return TensorSpec.model_validate({"name": node.name, "dtype": dtype, "axes": axes})
