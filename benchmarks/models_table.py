"""Published figures beside those of the shipped bundles, and how each was trained: python -m benchmarks.models_table.

Ours are what `beamstep evaluate --record` wrote into the bundles' manifests, measured through serving with the default options; a
target that was missed is marked. `--write docs/models.md` puts the tables into that page. Needs the extra `train`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.documents import write_into
from export.evaluation.command import find_bundle
from serving.bundle import load_bundle
from serving.manifest import Manifest
from training.recipe import read_recipe
from training.variants import packaged_recipes

RECORDS_COMMAND: Final = "python -m benchmarks.models_table records"
TRAINING_COMMAND: Final = "python -m benchmarks.models_table training"
LOWER_IS_BETTER: Final = frozenset({"gap", "gap_rounded", "mean_length"})


@dataclass(frozen=True)
class Record:
    """A published figure to stand beside ours.

    Attributes:
        model: our bundle's name.
        test: what is tested on, for the reader.
        metric: the manifest's name of it.
        data: a pattern of the manifest's name of the data; the first figure that fits is ours.
        published: what others reached.
        source: where they say so.
        target: what ours should reach; None: it is only reported.
    """

    model: str
    test: str
    metric: str
    data: str
    published: str
    source: str
    target: float | None


WU: Final = "[Wu et al. 2021](https://arxiv.org/abs/2105.14462)"
LIUM: Final = "[Caglayan et al. 2017](https://arxiv.org/abs/1707.04481)"
XU: Final = "[Xu et al. 2015](https://arxiv.org/abs/1502.03044)"
NIC: Final = "[Vinyals et al. 2015b](https://arxiv.org/abs/1411.4555)"
POINTER: Final = "[Vinyals et al. 2015](https://arxiv.org/abs/1506.03134)"
KOOL: Final = "[Kool et al. 2019](https://arxiv.org/abs/1803.08475)"
POMO: Final = "[Kwon et al. 2020](https://arxiv.org/abs/2010.16011)"
PEER: Final = "the peer, Transformer-Tiny in CTranslate2, int8"
BLEU: Final = "bleu_lower_tokenized"


def _hull(points: int, exact: str, target: float) -> Record:
    return Record(
        "hull", f"n = {points}", "exact", rf".*hull_{points}_test|instances hull-{points}-.*", exact, POINTER, target
    )


def _area(points: int, area: str) -> Record:
    return Record(
        "hull", f"n = {points}", "area", rf".*hull_{points}_test|instances hull-{points}-.*", area, POINTER, 99.9
    )


def _delaunay(points: int, metric: str, published: str, target: float | None) -> Record:
    return Record("delaunay", f"n = {points}", metric, rf"instances delaunay-{points}-.*", published, POINTER, target)


def _captions(order: int, published: str, source: str, target: float) -> Record:
    return Record("captioning-en", "Flickr8k test", f"bleu_{order}", "flickr8k test", published, source, target)


RECORDS: Final[Sequence[Record]] = (
    Record(
        "translation-en-de",
        "Multi30k test_2016_flickr",
        BLEU,
        "multi30k test_2016_flickr",
        "Transformer-Tiny 41.0; attentive GRU 38.1, ensemble 40.7; 40.1",
        f"{WU}; {LIUM}; {PEER}",
        40.1,
    ),
    Record(
        "translation-en-de",
        "Multi30k test_2017_flickr",
        BLEU,
        "multi30k test_2017_flickr",
        "Transformer-Tiny 33.4; attentive GRU 30.8, ensemble 33.2; 33.2",
        f"{WU}; {LIUM}; {PEER}",
        33.0,
    ),
    Record(
        "translation-de-en",
        "Multi30k test_2016_flickr",
        BLEU,
        "multi30k test_2016_flickr",
        "Transformer 36.5, GRU 28.3",
        "a tutorial's, named in issue 5",
        38.0,
    ),
    Record(
        "translation-en-fr",
        "Multi30k test_2016_flickr",
        BLEU,
        "multi30k test_2016_flickr",
        "Transformer-Tiny 61.8; attentive GRU 52.5",
        f"{WU}; {LIUM}",
        57.0,
    ),
    _captions(1, "67 with VGG19; NIC 63", f"{XU}; {NIC}", 64.0),
    _captions(2, "45.7", XU, 45.0),
    _captions(3, "31.4", XU, 31.0),
    _captions(4, "21.3", XU, 21.0),
    _hull(5, "92.0", 98.0),
    _hull(10, "87.0", 96.0),
    _hull(50, "69.6", 90.0),
    _hull(100, "50.3", 75.0),
    _hull(200, "22.1", 40.0),
    _hull(500, "1.3", 5.0),
    _area(5, "99.6"),
    _area(10, "99.8"),
    _area(50, "99.9"),
    _area(100, "99.9"),
    _delaunay(5, "exact", "80.7", 93.0),
    _delaunay(5, "triangle_coverage", "93.0", 97.0),
    _delaunay(10, "exact", "22.6", 60.0),
    _delaunay(10, "triangle_coverage", "81.3", 92.0),
    _delaunay(50, "exact", "0", None),
    _delaunay(50, "triangle_coverage", "52.8", 75.0),
    Record("tour", "n = 10, exact tours 2.867", "mean_length", ".*tsp_10_test_exact", "2.88", POINTER, None),
    Record(
        "tour",
        "n = 20",
        "gap",
        r".*tsp_20_.*optimal|.*(tsp|tour)-?20[-_].*",
        "greedy 0.34; POMO 0.04",
        f"{KOOL}; {POMO}",
        0.3,
    ),
    Record("tour", "n = 50", "gap", r".*(tsp|tour)-?50[-_].*", "greedy 1.76; POMO 0.21", f"{KOOL}; {POMO}", 1.5),
    Record(
        "tour",
        "TSPLIB berlin52, rounded distances",
        "gap_rounded",
        r"tsplib berlin52",
        "0, the optimum",
        "Reinelt 1991",
        5.0,
    ),
    Record(
        "tour", "TSPLIB eil51, rounded distances", "gap_rounded", r"tsplib eil51", "0, the optimum", "Reinelt 1991", 5.0
    ),
)
"""Issue 5 has the targets. BLEU is on lower-cased Moses tokens; shares and gaps are in percent (docs/evaluation.md)."""


def models_table(
    models: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("models"),
    write: Annotated[Path | None, typer.Option(help="A document with places for the tables, to put them into.")] = None,
) -> None:
    """Print both tables, or write them into a document."""
    tables = {
        RECORDS_COMMAND: list(records_table(latest_manifests(models))),
        TRAINING_COMMAND: list(training_table(latest_manifests(models))),
    }
    for command, lines in tables.items():
        if write is not None:
            write_into(write, command, lines)
        else:
            typer.echo("\n".join([*lines, ""]))


def latest_manifests(models: Path) -> dict[str, Manifest]:
    """Return the manifest of each bundle's latest version, by name."""
    folders = sorted(folder for folder in models.iterdir() if folder.is_dir())
    return {folder.name: load_bundle(find_bundle(folder)).manifest for folder in folders}


def records_table(manifests: Mapping[str, Manifest]) -> Iterator[str]:
    """Yield the lines of the table of records."""
    yield "| model | test | metric | published | source | at least | ours |"
    yield "|---|---|---|---|---|---|---|"
    for record in RECORDS:
        least = "-" if record.target is None else f"{record.target:g}"
        if record.metric in LOWER_IS_BETTER and record.target is not None:
            least = f"at most {least}"
        cells = (
            record.model,
            record.test,
            record.metric,
            record.published,
            record.source,
            least,
            _ours(record, manifests),
        )
        yield f"| {' | '.join(cells)} |"


def _ours(record: Record, manifests: Mapping[str, Manifest]) -> str:
    """Return our figure with the version that it is of, marked where it misses the target."""
    manifest = manifests.get(record.model)
    if manifest is None:
        return "no such bundle"
    fitting = [one for one in manifest.quality if one.metric == record.metric and re.fullmatch(record.data, one.data)]
    if not fitting:
        return "not measured"
    value = fitting[0].value
    places = 3 if record.metric in {"mean_length", "area"} else 2
    figure = f"{value:.{places}f} (version {manifest.version})"
    if record.target is None:
        return figure
    reached = value <= record.target if record.metric in LOWER_IS_BETTER else value >= record.target
    return figure if reached else f"{figure}, **missed**"


def training_table(manifests: Mapping[str, Manifest]) -> Iterator[str]:
    """Yield the lines of the table of how each bundle was trained."""
    yield "| model | version | recipes, one after the other | again, from the data folder | what the recipe does not say |"
    yield "|---|---|---|---|---|"
    for name, manifest in manifests.items():
        provenance = manifest.provenance
        chain = ", ".join(f"`{recipe}`" for recipe in recipe_chain(provenance.recipe))
        cells = (
            name,
            manifest.version,
            chain,
            f"`make retrain MODEL={provenance.recipe}`",
            " ".join(provenance.notes).replace("|", "/") or "-",
        )
        yield f"| {' | '.join(cells)} |"


def recipe_chain(name: str) -> list[str]:
    """Return a recipe's name after those of the runs that it starts from; alone where there is no such recipe any more."""
    file = packaged_recipes().get(name)
    start = None if file is None else read_recipe(file).start_from
    if start is None:
        return [name]
    earlier = [stage for run in start.runs for stage in recipe_chain(run)]
    return [*dict.fromkeys(earlier), name]


if __name__ == "__main__":
    typer.run(models_table)
