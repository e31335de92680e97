"""What each choice of architecture reaches in the same time: python -m benchmarks.recipe_table hull --minutes 5 > table.md.

Trains the recipes of a group one after the other, a thread each, for so many minutes of processor time, which other work on the
machine does not shorten; exports each in float32, compares its tensors with PyTorch's, and evaluates it through serving, as
`beamstep evaluate` does. Runs are kept under --runs, and a second call with the same minutes goes on where the first one
stopped; other minutes are other runs, for the learning rate follows them. Needs the extra `train`.
"""

import json
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from rich.console import Console

from benchmarks.documents import write_into
from benchmarks.environment import describe
from benchmarks.make_instances import Kind, instance_lines
from export.evaluation.command import run_evaluation
from export.evaluation.data_options import DataOptions
from export.manifest_file import write_manifest
from export.onnx_writer import trace_graphs
from export.parity import check_parity
from export.pipeline import ExportSettings, build_manifest, vocabulary_of
from export.publish import copy_tokenizers, write_graph_files
from export.sources import example_batch, held_back
from export.torch_model import TorchModel
from serving.bundle import load_bundle
from serving.session import OnnxModel, SessionConfig
from serving.tasks.options import RequestedOptions
from training.checkpoint import read_checkpoint
from training.command import train_recipe
from training.config import RecipeError
from training.recipe import find_recipe, read_recipe
from training.run import load_run

COMPARED: Final = 32
"""Held-back inputs that the sources of the tensor comparison are made like."""
TRANSLATION_CHANGES: Final = (
    "rnn", "gru-reset-after", "lstm", "scaled", "general", "additive", "none", "not-fed", "one-way", "two-layers", "transformer"
)  # fmt: skip
OUTCOME: Final = "outcome.json"
MADE_COUNT: Final = 1000
"""Instances made for a size of which the paper's test file is not at hand."""


@dataclass(frozen=True)
class Choice:
    """A recipe of a group.

    Attributes:
        recipe: its name.
        points: the size of the sets that it is evaluated on; None where it reads text or images.
        published: what its paper states of it, in the order of the group's metrics.
    """

    recipe: str
    points: int | None = None
    published: str = ""


@dataclass(frozen=True)
class Files:
    """What to evaluate on, by the evaluation's options; paths lie in the data folder."""

    instances: str | None = None
    source: str | None = None
    reference: str | None = None
    captions: str | None = None
    images: str | None = None
    split: str | None = None

    def within(self, data: Path) -> DataOptions:
        """Return the options for a data folder."""
        return DataOptions(
            source=_inside(data, self.source),
            reference=_inside(data, self.reference),
            captions=_inside(data, self.captions),
            images=_inside(data, self.images),
            split=self.split,
            instances=_inside(data, self.instances),
        )


def _inside(data: Path, name: str | None) -> Path | None:
    return None if name is None else data / name


@dataclass(frozen=True)
class Group:
    """Recipes that are compared with each other.

    Attributes:
        choices: in the order of the table.
        metrics: of the evaluation's figures, those that the table shows.
        files: of sets of a size; None: of text or images, of which there is one data set.
        made: what instances are made of, for sizes without files.
    """

    choices: tuple[Choice, ...]
    metrics: tuple[str, ...]
    files: Mapping[int | None, Files] = field(default_factory=dict)
    made: Kind = Kind.HULL


GROUPS: Final[Mapping[str, Group]] = {
    "hull": Group(
        (
            Choice("lstm-5", 5, "87.7 / - / 99.6"),
            Choice("lstm-attention-5", 5),
            Choice("ptr-net-5", 5, "92.0 / - / 99.6 (trained on 5 to 50)"),
            Choice("set-pointer-5", 5),
            Choice("lstm-10", 10, "29.9 / - / FAIL"),
            Choice("lstm-attention-10", 10),
            Choice("ptr-net-10", 10, "87.0 / - / 99.8 (trained on 5 to 50)"),
            Choice("set-pointer-10", 10),
            Choice("lstm-50", 50, "1.9 / - / FAIL"),
            Choice("lstm-attention-50", 50, "38.9 / - / 99.7"),
            Choice("ptr-net-50", 50, "72.6 / - / 99.9"),
            Choice("ptr-net-5-to-50", 50, "69.6 / - / 99.9"),
            Choice("set-pointer-50", 50),
        ),
        ("exact", "valid", "area"),
        {5: Files(instances="pointer/convex_hull_5_test.txt.gz")},
    ),
    "tour": Group(
        (
            Choice("ptr-net-tour-5", 5, "2.12 (2.12)"),
            Choice("set-pointer-tour-5", 5),
            Choice("ptr-net-tour-10", 10, "2.88 (2.87)"),
            Choice("set-pointer-tour-10", 10),
        ),
        ("mean_length", "given_mean_length", "gap"),
        {5: Files(instances="pointer/tsp5_test.txt.gz"), 10: Files(instances="pointer/tsp_10_test_exact.txt.gz")},
        Kind.TOUR,
    ),
    "delaunay": Group(
        (
            Choice("ptr-net-delaunay-5", 5, "80.7 / - / 93.0"),
            Choice("set-pointer-delaunay-5", 5),
            Choice("ptr-net-delaunay-10", 10, "22.6 / - / 81.3"),
            Choice("set-pointer-delaunay-10", 10),
        ),
        ("exact", "valid", "triangle_coverage"),
        made=Kind.DELAUNAY,
    ),
    "translation": Group(
        tuple(Choice(f"translation-small{change}") for change in ("", *(f"-{name}" for name in TRANSLATION_CHANGES))),
        ("bleu_lower_tokenized", "chrf"),
        {None: Files(source="multi30k/val.en.gz", reference="multi30k/val.de.gz")},
    ),
    "captioning": Group(
        (
            Choice("show-and-tell"),
            Choice("show-attend-and-tell"),
            Choice("captioning-dot"),
            Choice("captioning-scaled"),
            Choice("captioning-en-base"),
            Choice("captioning-resnet50"),
        ),
        ("bleu_4", "cider"),
        {None: Files(captions="flickr8k/captions.jsonl", images="flickr8k/images", split="val")},
    ),
}


@dataclass(frozen=True)
class Trained:
    """How a run went.

    Attributes:
        parameters: of the model, those that are trained.
        steps: updates made.
        processor_minutes: of training, validations included.
        machine: what it was trained on.
        date: UTC.
    """

    parameters: int
    steps: int
    processor_minutes: float
    machine: str
    date: str


@dataclass(frozen=True)
class Evaluated:
    """What a run reached.

    Attributes:
        figures: of the evaluation, all of them, and `count`.
        data: what it was evaluated on, in short.
    """

    figures: Mapping[str, float | None]
    data: str


@dataclass(frozen=True)
class Outcome:
    """What a choice came to; kept in its run's folder."""

    trained: Trained
    evaluated: Evaluated


def _read_outcome(run: Path) -> Outcome | None:
    if not (run / OUTCOME).is_file():
        return None
    content = json.loads((run / OUTCOME).read_text(encoding="utf-8"))
    return Outcome(Trained(**content["trained"]), Evaluated(**content["evaluated"]))


def recipe_table(  # noqa: PLR0917 - typer makes options of them
    group: Annotated[str, typer.Argument(help=f"Which recipes: one of {', '.join(GROUPS)}.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Processor time of each training.")] = 5.0,
    data: Annotated[Path, typer.Option(help="The data folder.")] = Path("data"),
    runs: Annotated[Path, typer.Option(help="Where runs and what they came to are kept.")] = Path("runs/choices"),
    limit: Annotated[int, typer.Option(min=1, help="Evaluate on the first so many sources.")] = 1000,
    only: Annotated[list[str] | None, typer.Option(help="A recipe of the group, and no others; repeatable.")] = None,
    finished: Annotated[bool, typer.Option("--finished", help="Train nothing: print those that have ended.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Evaluate finished runs again, as serving is today.")] = False,
    write: Annotated[Path | None, typer.Option(help="A document with a place for the table, to put it into.")] = None,
) -> None:
    """Train, export and evaluate the recipes of a group, and print the table."""
    if group not in GROUPS:
        raise typer.BadParameter(f"{group!r}; allowed: {', '.join(GROUPS)}", param_hint="GROUP")
    names = {choice.recipe for choice in GROUPS[group].choices}
    if not names.issuperset(only or ()):
        raise typer.BadParameter(f"{only}; allowed: {', '.join(sorted(names))}", param_hint="--only")
    torch.set_num_threads(1)
    rows: list[tuple[Choice, Outcome]] = []
    for choice in GROUPS[group].choices:
        run = runs / f"{minutes:g}-minutes" / choice.recipe
        known = _read_outcome(run)
        if (only and choice.recipe not in only) or (finished and known is None):
            continue
        if known is None or again:
            try:
                trained = train_for(minutes, find_recipe(choice.recipe), run, data) if known is None else known.trained
            except RecipeError as error:  # such as weights that are not in the data folder
                typer.echo(f"left out: {choice.recipe}: {error}", err=True)
                continue
            known = Outcome(trained, measure(run, data, GROUPS[group], choice.points, limit))
            (run / OUTCOME).write_text(json.dumps(asdict(known), indent=1), encoding="utf-8")
        rows.append((choice, known))
    table = list(as_markdown(GROUPS[group], rows))
    if write is not None:
        write_into(write, f"python -m benchmarks.recipe_table {group} --minutes {minutes:g}", table)
    else:
        typer.echo("\n".join(table))


def train_for(minutes: float, recipe: Path, run: Path, data: Path) -> Trained:
    """Train a recipe in the folder `run`, going on with what is there."""
    console = Console(stderr=True)
    if not (run / "averaged.pt").is_file():
        begun = (run / "checkpoints" / "last.pt").is_file()
        train_recipe(
            recipe,
            read_recipe(recipe),
            data,
            run,
            console,
            resume=begun,
            restart=not begun,
            minutes=minutes,
            clock=time.process_time,
        )
    position = read_checkpoint(run / "checkpoints" / "last.pt")["position"]
    weights = load_run(run, data).model.parameters()
    return Trained(
        parameters=sum(weight.numel() for weight in weights if weight.requires_grad),
        steps=position["step"],
        processor_minutes=position["seconds"] / 60,
        machine=f"{_device()}, 1 thread",
        date=datetime.now(UTC).date().isoformat(),
    )


def measure(run: Path, data: Path, group: Group, points: int | None, limit: int) -> Evaluated:
    """Export a run in float32 into a folder that is thrown away, and evaluate what is there through serving."""
    loaded = load_run(run, data)
    task = loaded.recipe.task
    sources = held_back(loaded.problem, task, COMPARED).sources
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        graphs = write_graph_files(folder, trace_graphs(loaded.model, task, example_batch(task, sources)))
        tokenizers = copy_tokenizers(folder, loaded.tokenizers)
        vocabulary = vocabulary_of(loaded.model, task, sources)
        manifest = build_manifest(loaded.recipe, ExportSettings(folder), graphs, tokenizers, vocabulary)
        write_manifest(folder, manifest)
        bundle = load_bundle(folder)
        fp32 = OnnxModel(bundle, SessionConfig(precision="fp32", allow_uncertified=True))
        check_parity(manifest, TorchModel(loaded.model, graphs.encoder.inputs), fp32, sources)
        options = _evaluated_on(data, group, points, Path(scratch))
        report = run_evaluation(bundle, options, RequestedOptions(), limit)
    return Evaluated(report.rounded(), report.data)


def _evaluated_on(data: Path, group: Group, points: int | None, scratch: Path) -> DataOptions:
    """Return the files for a size, made where the group names none."""
    if points in group.files:
        return group.files[points].within(data)
    assert points is not None, "text and images are never made"
    seed = int(f"2{points}")
    made = scratch / "made" / f"{group.made}-{points}-seed-{seed}.txt"  # the folder's name stands in the table
    made.parent.mkdir()
    lines = instance_lines(group.made, MADE_COUNT, points, seed)
    made.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return DataOptions(instances=made)


def _device() -> str:
    """Return what training runs on."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return describe()["processor"] or platform.machine()


def as_markdown(group: Group, rows: Sequence[tuple[Choice, Outcome]]) -> Iterator[str]:
    """Yield the table's lines."""
    names = [metric.replace("_", " ") for metric in group.metrics]
    published = any(choice.published for choice, _ in rows)
    heads = ["recipe", *names, *(["published"] if published else []), "parameters", "steps", "minutes", "evaluated on"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for choice, outcome in rows:
        cells = [
            f"`{choice.recipe}`",
            *(_figure(outcome.evaluated.figures[metric]) for metric in group.metrics),
            *([choice.published or "-"] if published else []),
            f"{outcome.trained.parameters:,}",
            f"{outcome.trained.steps:,}",
            f"{outcome.trained.processor_minutes:.1f}",
            f"{outcome.evaluated.data}, {outcome.evaluated.figures['count']:,.0f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    for machine in sorted({outcome.trained.machine for _, outcome in rows}):
        dates = sorted({outcome.trained.date for _, outcome in rows if outcome.trained.machine == machine})
        yield f"Minutes are processor time on {machine}; {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}."


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    typer.run(recipe_table)
