"""Answers on a terminal: plain lines that pipe well, and tables where there is more to see."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from beamstep.points import Point

if TYPE_CHECKING:
    from beamstep.v1.model_pb2 import GetModelResponse, ListModelsResponse, Model
    from beamstep.v1.pointing_pb2 import (
        FindConvexHullResponse,
        FindDelaunayTriangulationResponse,
        FindTourResponse,
    )


def print_json(message: Message) -> None:
    """Print a message as one line of JSON with the protos' field names; fields that are empty or zero are there too."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    print(json.dumps(fields, ensure_ascii=False), flush=True)  # a reader that is gone shows here, not at exit


def print_texts(console: Console, hypotheses: Sequence[tuple[str, float]]) -> None:
    """Print the only text alone, several each after its score."""
    for text, score in hypotheses:
        # A Text, since a model's output is no markup.
        line = Text(text) if len(hypotheses) == 1 else Text(f"{score:9.4f}  {text}")
        console.print(line, soft_wrap=True)


def print_hulls(console: Console, points: Sequence[Point], answer: "FindConvexHullResponse") -> None:
    """Print the corners of each hull, counter-clockwise."""
    for hypothesis in answer.hypotheses:
        size = f"area {hypothesis.area:.6g}" if hypothesis.valid else "not a simple polygon"
        title = f"{len(hypothesis.point_indices)} corners, {size}, score {hypothesis.decoding.score:.4f}"
        _print_points(console, title, points, hypothesis.point_indices)


def print_tours(console: Console, points: Sequence[Point], answer: "FindTourResponse") -> None:
    """Print the points of each tour in the order of visit."""
    for hypothesis in answer.hypotheses:
        size = f"length {hypothesis.length:.6g}" if hypothesis.valid else "not every point once"
        title = f"{len(hypothesis.point_indices)} points, {size}, score {hypothesis.decoding.score:.4f}"
        _print_points(console, title, points, hypothesis.point_indices)


def print_triangulations(console: Console, answer: "FindDelaunayTriangulationResponse") -> None:
    """Print the triangles of each triangulation, one a line."""
    for hypothesis in answer.hypotheses:
        validity = "covers the hull once" if hypothesis.valid else "has gaps or overlaps"
        score = hypothesis.decoding.score
        console.print(Text(f"{len(hypothesis.triangles)} triangles, {validity}, score {score:.4f}", style="bold"))
        for triangle in hypothesis.triangles:
            console.print(Text(f"{triangle.a} {triangle.b} {triangle.c}"))


def print_models(console: Console, answer: "ListModelsResponse") -> None:
    """Print a table of what a server has loaded."""
    names = ("model", "task", "precision", "quality", "description")
    # A name cut short could not be passed to --model.
    columns = (Column(name, overflow="fold", no_wrap=name == "model") for name in names)
    table = Table(*columns, box=None, header_style="bold")
    for model in answer.models:
        reference = f"{model.reference.name}/{model.reference.version}"
        table.add_row(*map(Text, (reference, _task(model), model.precision, _first_quality(model), model.description)))
    console.print(table)


def print_model(console: Console, answer: "GetModelResponse") -> None:
    """Print what a server says of one model."""
    model = answer.model
    console.print(Text(f"{model.reference.name}/{model.reference.version}", style="bold"))
    console.print(Text(model.description))
    defaults, limits, origin = model.default_options, model.limits, model.provenance
    facts = {
        "task": _task(model),
        "precision": f"{model.precision} on {model.execution_provider}",
        "defaults": f"beam size {defaults.beam_size}, length penalty {defaults.length_penalty:g}",
        "limits": f"beam size {limits.beam_size}, source length {limits.source_length}, max length {limits.max_length}",
        "recipe": f"{origin.recipe}, seed {origin.seed}, commit {origin.git_commit}",
        "data": ", ".join(f"{source.name} ({source.licence})" for source in origin.data_sources),
        "tools": ", ".join(origin.tool_versions),
    }
    table = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        table.add_row(name, Text(fact))
    for figure in model.quality:
        table.add_row("quality", Text(f"{figure.metric} {figure.value:g} on {figure.data} ({figure.command})"))
    console.print(table)


def _print_points(console: Console, title: str, points: Sequence[Point], indices: Iterable[int]) -> None:
    console.print(Text(title, style="bold"))
    table = Table("index", "x", "y", box=None, header_style="dim")
    for index in indices:
        table.add_row(str(index), *(f"{value:g}" for value in points[index]))
    console.print(table)


def _task(model: "Model") -> str:
    from beamstep.v1.model_pb2 import Task

    name = Task.Name(model.task) if model.task in Task.values() else f"task {model.task} of a newer server"
    return name.removeprefix("TASK_").lower()


def _first_quality(model: "Model") -> str:
    return next((f"{figure.metric} {figure.value:g}" for figure in model.quality), "-")
