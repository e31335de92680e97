"""`beamstep export`: a finished run in, a checked bundle out."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import ValidationError
from rich.console import Console

from beamstep.certificates import certificate_table
from beamstep.output import output_console
from export.errors import ExportError
from export.pipeline import ExportSettings, export_run
from serving.bundle import load_bundle
from serving.errors import BeamstepError
from serving.manifest import PRECISIONS
from serving.precision import parse_precisions
from serving.servicers.certificates import certificate_message
from training.config import RecipeError
from training.run import load_run


def export(  # noqa: PLR0917 - typer makes options of them
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    output: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="The bundle's name; default: the recipe's.")] = None,
    bundle_version: Annotated[str, typer.Option(help="The bundle's version.")] = "1",
    precision: Annotated[
        str, typer.Option(help=f"Some of {','.join(PRECISIONS)}: a pair of graphs is kept of each.")
    ] = "int8",
    data: Annotated[
        Path | None, typer.Option(help="The data folder; not needed where the problem makes its own.")
    ] = None,
    inputs: Annotated[int, typer.Option(min=1, help="Held-back inputs to compare answers on.")] = 1000,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a version that is there.")] = False,
    note: Annotated[
        list[str] | None,
        typer.Option(help="A sentence for the model card on what the recipe does not say; repeatable."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="PyTorch's CPU threads; default: one a core.")] = None,
) -> None:
    """Export a run as a bundle, after checking that it gives PyTorch's answers."""
    if threads is not None:
        torch.set_num_threads(threads)
    console = Console(stderr=True)
    try:
        precisions = parse_precisions(precision)
        settings = ExportSettings(output, name, bundle_version, precisions, inputs, replace, tuple(note or ()))
        with console.status("loading the run") as status:
            folder = export_run(load_run(run, data), settings, status.update)
        _report(output_console(), folder)
    except (ExportError, RecipeError, BeamstepError, ValidationError, OSError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1 if isinstance(error, ExportError) else 2) from error
    except KeyboardInterrupt as error:
        typer.echo("stopped; nothing was published", err=True)
        raise typer.Exit(130) from error


def _report(console: Console, folder: Path) -> None:
    manifest = load_bundle(folder).manifest
    size = sum(file.stat().st_size for file in folder.iterdir())
    console.print(f"{folder}: {manifest.task}, {', '.join(manifest.graphs)}, {size / 1e6:.2f} MB")
    console.print(certificate_table([certificate_message(one) for one in manifest.certificates]))
