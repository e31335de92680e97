"""`beamstep export`: a finished run in, a checked bundle out."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import ValidationError
from rich.console import Console

from export.errors import ExportError
from export.pipeline import ExportSettings, Precision, export_run
from serving.bundle import load_bundle
from serving.errors import BeamstepError
from serving.manifest import Manifest
from training.config import RecipeError
from training.run import load_run


def export(  # noqa: PLR0917 - typer makes options of them
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    output: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="The bundle's name; default: the recipe's.")] = None,
    bundle_version: Annotated[str, typer.Option(help="The bundle's version.")] = "1",
    precision: Annotated[Precision, typer.Option(help="How weights are stored; arithmetic is float32.")] = "int8",
    data: Annotated[
        Path | None, typer.Option(help="The data folder; not needed where the problem makes its own.")
    ] = None,
    inputs: Annotated[int, typer.Option(min=1, help="Held-back inputs to compare answers on.")] = 200,
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
    settings = ExportSettings(output, name, bundle_version, precision, inputs, replace, tuple(note or ()))
    try:
        with console.status("loading the run") as status:
            folder = export_run(load_run(run, data), settings, status.update)
        _report(Console(), folder)
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
    for line in _parity_lines(manifest):
        console.print(line)


def _parity_lines(manifest: Manifest) -> list[str]:
    return [
        f"{report.precision} on {report.provider}: largest tensor error {report.tensor_error:.1e}; of {tokens.inputs} held-back "
        f"inputs {100 * tokens.identical:.1f} % beam {tokens.beam_size} answers are PyTorch's token by token"
        for report in manifest.certificates
        for tokens in report.tokens
    ]
