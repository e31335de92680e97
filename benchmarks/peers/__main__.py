"""Measures the tables: python -m benchmarks.peers [TABLE ...] [--repeats N] [--seconds S] [--write docs/performance.md]."""

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.documents import write_into
from benchmarks.environment import describe
from benchmarks.peers import ctranslate2, floors, geometry, huggingface, pytorch, scaling, usual_onnx
from benchmarks.peers.table import Effort, Result, Table, as_markdown, measure

ALL: Final[tuple[Table, ...]] = (
    pytorch.TABLE,
    usual_onnx.TABLE,
    ctranslate2.TABLE,
    huggingface.TABLE,
    geometry.TABLE,
    floors.TABLE,
    scaling.TABLE,
)
TABLES: Final[Mapping[str, Table]] = {table.name: table for table in ALL}


def peers(
    tables: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(TABLES)}; all by default.")] = None,
    *,
    repeats: Annotated[int, typer.Option(min=1, help="Figures a side; tables have their median.")] = Effort.repeats,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of one load.")] = Effort.seconds,
    models: Annotated[Path, typer.Option(help="The folder of bundles, with the shipped ones' names.")] = Effort.models,
    serve: Annotated[str, typer.Option(help="Further options of our server, such as '--provider cuda'.")] = "",
    device: Annotated[str, typer.Option(help="Where PyTorch computes, as torch names it.")] = Effort.device,
    peer: Annotated[Path | None, typer.Option(help="A folder of another project's model, where one is needed.")] = None,
    data: Annotated[Path | None, typer.Option(help="The data folder, for tables that can do more with it.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here too.")] = None,
    write: Annotated[
        Path | None, typer.Option(help="A document with a place for each table, to put them into.")
    ] = None,
) -> None:
    """Measure tables and print them; the exit status is 1 where a target was missed or something could not be measured."""
    unknown = [name for name in tables or () if name not in TABLES]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; allowed: {', '.join(TABLES)}", param_hint="TABLE")
    effort = Effort(repeats, seconds, models, peer, data, tuple(shlex.split(serve)), device)
    machine = describe()
    found: dict[str, list[Result]] = {}
    for name in tables or TABLES:
        began = time.monotonic()
        found[name] = []
        for group in TABLES[name].groups:
            typer.echo(f"{name}: {group.title}", err=True)
            found[name].append(measure(group, effort))
        lines = list(lines_of(found[name], machine, effort))
        typer.echo("\n".join([f"## {name}, {time.monotonic() - began:.0f} s", "", *lines]))
        if write is not None:
            write_into(write, f"python -m benchmarks.peers {name}", lines)
        if json_file is not None:  # after every table, so that nothing is lost
            json_file.write_text(json.dumps(as_json(found, machine), indent=2) + "\n", encoding="utf-8")
    if not all(result.met for results in found.values() for result in results):
        raise typer.Exit(1)


def lines_of(results: Sequence[Result], machine: Mapping[str, str], effort: Effort) -> Iterator[str]:
    """Yield the lines of a table: its groups, then when and where."""
    yield ""
    for result in results:
        yield from as_markdown(result)
    where = (
        f"{machine['processor']}; {machine['versions']}; code {machine['code']}; load before {machine['load before']}"
    )
    taken = f"medians of {effort.repeats} of {effort.seconds:g} s, least to most in brackets"
    yield f"{datetime.now(UTC).date().isoformat()}, {where}; {taken}."
    yield ""


def as_json(found: Mapping[str, Sequence[Result]], machine: Mapping[str, str]) -> dict[str, Any]:
    """Return every figure: by table and group, of each side every repeat."""
    tables = {
        name: {
            result.title: {"others": result.others, "missing": result.missing, "taken": dict(result.taken)}
            for result in results
        }
        for name, results in found.items()
    }
    return {"environment": dict(machine), "tables": tables}


if __name__ == "__main__":
    typer.run(peers)
