"""Answers on a terminal: plain lines that pipe well, and tables where there is more to see."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from beamstep.certificates import certificate_table
from beamstep.points import Point

if TYPE_CHECKING:
    from beamstep.v1.captioning_pb2 import AttentionGrid
    from beamstep.v1.decoding_pb2 import Decoding
    from beamstep.v1.model_pb2 import GetModelResponse, ListModelsResponse, Model
    from beamstep.v1.pointing_pb2 import (
        FindConvexHullResponse,
        FindDelaunayTriangulationResponse,
        FindTourResponse,
    )

AnyMessage = TypeVar("AnyMessage", bound=Message)


def print_json(message: Message) -> None:
    """Print a message as one line of JSON with the protos' field names; fields that are empty or zero are there too."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    print(json.dumps(fields, ensure_ascii=False), flush=True)  # a reader that is gone shows here, not at exit


def print_json_lines(messages: Iterable[AnyMessage]) -> AnyMessage | None:
    """Print each message of a stream as it comes, and return the last."""
    last = None
    for message in messages:
        print_json(message)
        last = message
    return last


def print_texts(console: Console, hypotheses: Sequence[tuple[str, "Decoding"]], places: Sequence[str] = ()) -> None:
    """Print the only text alone, several each after its score; `places` names the source positions of attention weights."""
    for text, decoding in hypotheses:
        # A Text, since a model's output is no markup.
        line = Text(text) if len(hypotheses) == 1 else Text(f"{decoding.score:9.4f}  {text}")
        console.print(line, soft_wrap=True)
        _print_attention(console, decoding, places)


def print_score(console: Console, decoding: "Decoding", places: Sequence[str] = ()) -> None:
    """Print how likely a target is as a whole and token by token."""
    title = f"log-prob {decoding.log_prob:.4f}, score {decoding.score:.4f}, {len(decoding.tokens)} tokens"
    console.print(Text(title, style="bold"))
    _print_tokens(console, decoding, places)


def cell_names(grid: "AttentionGrid") -> list[str]:
    """Return what to call the image cells that a caption's attention weights run over."""
    return [
        f"row {row + 1}, column {column + 1}" for row in range(grid.row_count) for column in range(grid.column_count)
    ]


def print_note(note: str) -> None:
    """Print on stderr what is to be known of an answer and is no part of it."""
    Console(stderr=True).print(Text.assemble(("note: ", "bold"), note), soft_wrap=True)


def print_hulls(console: Console, points: Sequence[Point], answer: "FindConvexHullResponse") -> None:
    """Print the corners of each hull, counter-clockwise."""
    for hypothesis in answer.hypotheses:
        share = "the convex hull" if hypothesis.exact else f"{_percent(hypothesis.area_coverage)} of the convex hull"
        size = f"area {hypothesis.area:.6g}, {share}" if hypothesis.valid else "not a simple polygon"
        size += _repair(hypothesis.repair_outcome, hypothesis.changed_corner_count, "corners")
        title = f"{len(hypothesis.point_indices)} corners, {size}, score {hypothesis.decoding.score:.4f}"
        _print_points(console, title, points, hypothesis.point_indices)
        _print_attention(console, hypothesis.decoding, _indices(points))


def print_tours(console: Console, points: Sequence[Point], answer: "FindTourResponse") -> None:
    """Print the points of each tour in the order of visit."""
    for hypothesis in answer.hypotheses:
        size = "not every point once"
        if hypothesis.valid:
            size = f"length {hypothesis.length:.6g}"
            if hypothesis.length_over_two_opt > 1:
                size += f", {_percent(hypothesis.length_over_two_opt - 1)} above what 2-opt makes of it"
        size += _repair(hypothesis.repair_outcome, hypothesis.changed_edge_count, "edges")
        title = f"{len(hypothesis.point_indices)} points, {size}, score {hypothesis.decoding.score:.4f}"
        _print_points(console, title, points, hypothesis.point_indices)
        _print_attention(console, hypothesis.decoding, _indices(points))


def print_triangulations(
    console: Console, points: Sequence[Point], answer: "FindDelaunayTriangulationResponse"
) -> None:
    """Print the triangles of each triangulation, one a line."""
    for hypothesis in answer.hypotheses:
        validity = "covers the hull once" if hypothesis.valid else "has gaps or overlaps"
        share = f"{_percent(hypothesis.triangle_coverage)} of the Delaunay triangles"
        validity += ", Delaunay" if hypothesis.exact else f", {share}"
        validity += _repair(hypothesis.repair_outcome, hypothesis.changed_triangle_count, "triangles")
        score = hypothesis.decoding.score
        console.print(Text(f"{len(hypothesis.triangles)} triangles, {validity}, score {score:.4f}", style="bold"))
        for triangle in hypothesis.triangles:
            console.print(Text(f"{triangle.a} {triangle.b} {triangle.c}"))
        _print_attention(console, hypothesis.decoding, _indices(points))


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
    patience = f", patience {defaults.patience:g}" if defaults.HasField("patience") else ""
    facts = {
        "task": _task(model),
        "precision": f"{model.precision} on {model.execution_provider}",
        "defaults": f"beam size {defaults.beam_size}, length penalty {defaults.length_penalty:g}{patience}",
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
    if model.certificates:
        console.print(certificate_table(model.certificates))


def _print_points(console: Console, title: str, points: Sequence[Point], indices: Iterable[int]) -> None:
    console.print(Text(title, style="bold"))
    table = Table("index", "x", "y", box=None, header_style="dim")
    for index in indices:
        table.add_row(str(index), *(f"{value:g}" for value in points[index]))
    console.print(table)


def _print_attention(console: Console, decoding: "Decoding", places: Sequence[str]) -> None:
    if any(token.attention for token in decoding.tokens):
        _print_tokens(console, decoding, places)


def _print_tokens(console: Console, decoding: "Decoding", places: Sequence[str]) -> None:
    """Print a token a line, with the place that had most of its attention where that was asked for."""
    table = Table(Column("token", overflow="fold"), Column("log-prob", justify="right"), box=None, header_style="dim")
    if any(token.attention for token in decoding.tokens):
        table.add_column("looked most at", overflow="fold")
        table.add_column("weight", justify="right")
    for token in decoding.tokens:
        cells = [token.piece, f"{token.log_prob:.4f}"]
        if token.attention:
            most = max(range(len(token.attention)), key=token.attention.__getitem__)
            cells += [places[most] if most < len(places) else str(most), f"{token.attention[most]:.2f}"]
        table.add_row(*map(Text, cells))
    console.print(table)


def _percent(share: float) -> str:
    """Write a share with three digits; one that is not whole never reads as 100 %."""
    return f"{min(100 * share, 99.99) if share < 1 else 100 * share:.4g} %"


def _repair(outcome: int, changes: int, noun: str) -> str:
    from beamstep.v1.pointing_pb2 import REPAIR_OUTCOME_REPAIRED

    return f", repaired ({changes} {noun} changed)" if outcome == REPAIR_OUTCOME_REPAIRED else ""


def _indices(points: Sequence[Point]) -> list[str]:
    return [str(index) for index in range(len(points))]


def _task(model: "Model") -> str:
    from beamstep.v1.model_pb2 import Task

    name = Task.Name(model.task) if model.task in Task.values() else f"task {model.task} of a newer server"
    return name.removeprefix("TASK_").lower()


def _first_quality(model: "Model") -> str:
    return next((f"{figure.metric} {figure.value:g}" for figure in model.quality), "-")
