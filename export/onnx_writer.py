"""A trained model to two ONNX graphs whose names and free axes are those of docs/architecture.md."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.graphs import ENCODER_GRAPHS, Axes, DecoderStepGraph
from export.selection import LOGITS, append_selection
from serving.manifest import TaskName, TensorSpec
from serving.session import NEXT_STATE
from training.models.base import Memory, SequenceToSequence, State
from training.vocabulary import BOS

OPSET: Final = 20
LETTERS: Final = ("N", "S", "R", "Q")
LARGEST_AXIS: Final = 1 << 16
"""A bound the tracer wants for every free axis; the graph itself holds none."""

_DTYPES: Final = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT64": "int64",
    "FLOAT16": "float16",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}


@dataclass(frozen=True)
class Graphs:
    """The two graphs of a bundle."""

    encoder: onnx.ModelProto
    decoder_step: onnx.ModelProto


def trace_graphs(model: SequenceToSequence, task: TaskName, example: Mapping[str, Tensor]) -> Graphs:
    """Trace a model into its two graphs, float32.

    Args:
        model: in evaluation mode.
        task: what it does, which says what the encoder reads.
        example: the encoder's inputs for N sources of up to S positions; N and S from 2, for the tracer freezes an axis of
            size 1, and S at least 5 where the vocabulary is the source.

    Raises:
        ExportError: the model cannot be traced; the message holds the tracer's reason.
    """
    with torch.no_grad():
        memory, state = model.encoder(dict(example))
    further = [*_prefixed("memory.", memory.extra), *_prefixed("state.", state)]
    encoder = ENCODER_GRAPHS[task](model.encoder)
    arguments = tuple(example[name] for name in encoder.axes)
    encoder_graph = _trace(encoder, arguments, encoder.axes, ["memory", "memory_mask", *further])
    return Graphs(encoder_graph, _trace_step(model, memory, state))


def signature(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Return the names, dtypes and axes of a graph's inputs or outputs.

    Raises:
        ExportError: a free axis has no letter of the contract, so the tracer made one up.
    """
    return tuple(TensorSpec(name=value.name, dtype=_dtype(value), axes=_axes(value)) for value in values)


def _trace_step(model: SequenceToSequence, memory: Memory, state: State) -> onnx.ModelProto:
    sources = len(memory.memory)
    rows = torch.arange(sources + 2)
    arguments = (
        torch.full_like(rows, BOS),  # token
        rows % sources,  # parent
        rows % sources,  # source
        memory.memory,
        memory.memory_mask,
        memory.extra,
        state,
    )
    states = _prefixed("state.", state)
    axes: dict[str, tuple[str, ...]] = {"token": ("R",), "parent": ("R",), "source": ("R",)}
    axes |= dict.fromkeys(["memory", "memory_mask", *_prefixed("memory.", memory.extra)], ("N", "S"))
    axes |= dict.fromkeys(states, ("Q",))
    outputs = [LOGITS, *_prefixed(NEXT_STATE, states), "attention"]
    model_of_logits = _trace(DecoderStepGraph(model.decoder), arguments, axes, outputs)
    append_selection(model_of_logits)
    return model_of_logits


def _prefixed(prefix: str, names: Iterable[str]) -> list[str]:
    return [prefix + name for name in names]


def _trace(graph: nn.Module, arguments: tuple[Any, ...], axes: Axes, outputs: Sequence[str]) -> onnx.ModelProto:
    """Run torch's exporter, then make its result ours: the letters of the axes, and no traces of this machine.

    Args:
        graph: a module of graphs.py.
        arguments: of its `forward`: tensors, and dictionaries of tensors.
        axes: every tensor of `arguments` in order, by its ONNX name, with the letters of its leading free axes.
        outputs: the ONNX names of what `forward` returns.
    """
    try:
        with torch.no_grad(), _quiet_exporter():
            program = torch.onnx.export(
                graph.eval(),
                (*arguments, {}),  # a dictionary at the end would be taken for keywords
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=list(axes),
                output_names=list(outputs),
                dynamic_shapes=_dynamic_shapes(arguments, axes),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"{type(graph).__name__}: torch.onnx.export failed: {error}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    _check_names(type(graph).__name__, model, list(axes), outputs)
    _name_axes(model, axes)
    return model


def _dynamic_shapes(arguments: tuple[Any, ...], axes: Axes) -> tuple[Any, ...]:
    """Return what the tracer wants: free axes by number, nested as the arguments are."""
    dimensions = {letter: torch.export.Dim(letter, min=1, max=LARGEST_AXIS) for letter in LETTERS}
    free = iter([{axis: dimensions[letter] for axis, letter in enumerate(letters)} for letters in axes.values()])
    return tuple(
        {name: next(free) for name in argument} if isinstance(argument, dict) else next(free) for argument in arguments
    )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's remarks (torchvision is not installed, axes share names) from users who can do nothing about them."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip(model: onnx.ModelProto) -> None:
    """Drop source paths and stack traces, which make half of a small graph, and the shapes between nodes."""
    described: Iterable[Any] = (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output)
    for holder in described:
        del holder.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    for initializer in model.graph.initializer:
        initializer.doc_string = ""
        del initializer.metadata_props[:]
    del model.graph.value_info[:]


def _name_axes(model: onnx.ModelProto, axes: Axes) -> None:
    """Give the free axes their letters, where the tracer may have made names of its own (s11)."""
    given: dict[str, str] = {}
    for value in model.graph.input:
        for dimension, letter in zip(value.type.tensor_type.shape.dim, axes[value.name], strict=False):
            if not dimension.dim_param:
                raise ExportError(
                    f"{value.name}: axis {letter} is {dimension.dim_value} in the traced graph; it must be free, and something in "
                    "the model made a number of it (len of a tensor does)"
                )
            given[dimension.dim_param] = letter
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = given.get(dimension.dim_param, dimension.dim_param)


def _check_names(graph: str, model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    for kind, expected, values in (("inputs", inputs, model.graph.input), ("outputs", outputs, model.graph.output)):
        actual = [value.name for value in values]
        if actual != list(expected):
            raise ExportError(f"{graph}: the tracer made the {kind} {actual}; the contract says {list(expected)}")


def _dtype(value: onnx.ValueInfoProto) -> Any:
    code = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    if code not in _DTYPES:
        raise ExportError(f"{value.name}: dtype {code}; allowed: {', '.join(_DTYPES)}")
    return _DTYPES[code]


def _axes(value: onnx.ValueInfoProto) -> tuple[str | int, ...]:
    axes = []
    for dimension in value.type.tensor_type.shape.dim:
        letter = dimension.dim_param
        if letter and letter not in {*LETTERS, "M", "k"}:
            raise ExportError(
                f"{value.name}: an axis depends on {letter!r}; allowed: one of N S R Q M k, or a fixed size"
            )
        axes.append(letter or dimension.dim_value)
    return tuple(axes)
