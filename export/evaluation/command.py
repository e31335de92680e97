"""`beamstep evaluate`: a bundle and data in, the quality of what serving answers out."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from beamstep.output import output_console
from export.evaluation.captions import read_captions
from export.evaluation.data_options import DataOptions, RepairChoice, file_label
from export.evaluation.evaluators import (
    PointingOptions,
    evaluate_captioning,
    evaluate_pointing,
    evaluate_translation,
)
from export.evaluation.instances import read_instances
from export.evaluation.lines import BadData
from export.evaluation.parallel_text import read_parallel_text
from export.evaluation.report import Report
from export.evaluation.served import Served
from export.evaluation.translation_metrics import target_language
from export.evaluation.tsplib import is_tsplib, read_tsplib
from export.manifest_file import record_quality
from serving.bundle import MANIFEST_FILE, Bundle, load_bundle, version_order
from serving.cores import cores
from serving.engine import Engine
from serving.errors import BadBundle, BadConfiguration, BeamstepError, InvalidRequest
from serving.session import OnnxModel, SessionConfig
from serving.tasks.options import RequestedOptions
from serving.tasks.verification import Repair

BAD_INPUT = 2
OTHER = 1
DEFAULT_SPLIT = "test"


def evaluate(  # noqa: PLR0917 - typer makes options of them
    context: typer.Context,
    bundle: Annotated[
        Path, typer.Argument(help="A bundle: models/NAME/VERSION, or models/NAME for its latest version.")
    ],
    source: Annotated[Path | None, typer.Option(help="Translation: sources, one a line.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Translation: their references, line by line.")] = None,
    target_language: Annotated[
        str | None, typer.Option(help="Translation: whose Moses rules tokenise; default: by the bundle's name.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Captioning: JSON lines with image, split and captions.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Captioning: the folder of the images.")] = None,
    split: Annotated[str | None, typer.Option(help=f"Captioning: which records; default: {DEFAULT_SPLIT}.")] = None,
    instances: Annotated[
        Path | None,
        typer.Option(
            help="Pointing: lines of x1 y1 ... output i1 i2 ..., indices from 1; or TSPLIB's NAME.tsp, or a folder of them."
        ),
    ] = None,
    symmetries: Annotated[
        int | None, typer.Option(help="Pointing: in how many of eight symmetries to decode; default: the model's.")
    ] = None,
    repair: Annotated[
        RepairChoice | None, typer.Option(help="Pointing: measure the answers as they are, or after their repair.")
    ] = None,
    beam_size: Annotated[int | None, typer.Option(help="Hypotheses kept; default: the model's.")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="Its exponent; default: the model's.")] = None,
    patience: Annotated[
        float | None, typer.Option(help="Stop once patience * beam size hypotheses have ended; default: the model's.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate the first so many sources only.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the figures in the bundle's manifest and card.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one line of JSON, the last of stdout.")
    ] = False,
) -> None:
    """Measure a bundle's quality by serving it: every source goes through the engine that answers requests.

    Files are plain or gzip. Shares, gaps and BLEU are in percent. Sources that serving refuses count as unanswered.
    """
    data = DataOptions(source, reference, target_language, captions, images, split, instances, symmetries, repair)
    requested = RequestedOptions(beam_size=beam_size, length_penalty=length_penalty, patience=patience)
    try:
        folder = find_bundle(bundle)
        report = run_evaluation(load_bundle(folder), data, requested, limit)
        if record:
            record_quality(folder, report.quality(command_line(context)))
    except (BadData, BadBundle, BadConfiguration, InvalidRequest) as error:
        raise _failure(error, BAD_INPUT) from None
    except (BeamstepError, OSError) as error:
        raise _failure(error, OTHER) from None
    _print(report, as_json=as_json)


def run_evaluation(bundle: Bundle, data: DataOptions, requested: RequestedOptions, limit: int | None) -> Report:
    """Read the data, serve the bundle in this process, and score its answers.

    Raises:
        BadConfiguration: the data options are not those of the bundle's task, or name an unknown language.
        BadData: a file is unreadable, empty or malformed.
        InvalidRequest: a decoding option is out of the model's range.
    """
    data.check(bundle.manifest.task)
    if data.source is not None and data.reference is not None:
        language = target_language(bundle.manifest.name, data.target_language)
        text = read_parallel_text(data.source, data.reference, limit)
        with served(bundle, requested, len(text.sources)) as asked:
            return evaluate_translation(bundle, asked, text, language, _label(file_label(data.source), limit))
    if data.captions is not None and data.images is not None:
        split = data.split or DEFAULT_SPLIT
        captioned = read_captions(data.captions, data.images, split, limit)
        label = f"{data.captions.resolve().parent.name} {split}"
        with served(bundle, requested, len(captioned.images)) as asked:
            return evaluate_captioning(bundle, asked, captioned, _label(label, limit))
    assert data.instances is not None, "DataOptions.check"
    read = read_tsplib if is_tsplib(data.instances) else read_instances
    instances = read(data.instances, limit)
    options = PointingOptions(data.symmetries or 0, Repair.FIX if data.repair is RepairChoice.FIX else Repair.NONE)
    with served(bundle, requested, len(instances)) as asked:
        return evaluate_pointing(bundle, asked, instances, _label(file_label(data.instances), limit), options)


@contextmanager
def served(bundle: Bundle, requested: RequestedOptions, count: int) -> Iterator[Served]:
    """Serve a bundle in this process, with a progress bar on stderr for `count` sources."""
    model = OnnxModel(bundle, SessionConfig(allow_uncertified=True))  # measuring is how one finds out
    model.warm_up()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    engine = Engine({bundle.key: model}, threads=cores().engine_threads)
    with Progress(*columns, console=Console(stderr=True)) as progress, engine:
        bar = progress.add_task(bundle.key, total=count)
        yield Served(engine, bundle.key, requested, lambda: progress.advance(bar))


def find_bundle(folder: Path) -> Path:
    """Return the bundle's folder: `folder` itself, or its latest version when it holds versions."""
    versions = sorted(folder.glob(f"*/{MANIFEST_FILE}"), key=lambda path: version_order(path.parent.name))
    return folder if (folder / MANIFEST_FILE).exists() or not versions else versions[-1].parent


def command_line(context: typer.Context) -> str:
    """Return the command that is running, without `--record`: what a reader types to measure again."""
    words = ["beamstep", "evaluate"]
    for parameter in context.command.params:
        name = parameter.name or ""
        origin, value = context.get_parameter_source(name), context.params.get(name)
        if origin is None or origin.name != "COMMANDLINE" or name == "record":
            continue
        option = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
        words += option if value is True else [*option, str(value)]
    return shlex.join(words)


def _label(data: str, limit: int | None) -> str:
    return data if limit is None else f"{data}, first {limit}"


def _print(report: Report, *, as_json: bool) -> None:
    for note in report.notes:
        typer.echo(note, err=True)
    if as_json:
        typer.echo(report.to_json())
        return
    table = Table("metric", report.data, box=None, header_style="bold")
    for name, value in report.rounded().items():
        table.add_row(name, "not measured" if value is None else f"{value:g}")
    output_console().print(table)


def _failure(error: Exception, status: int) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(status)
