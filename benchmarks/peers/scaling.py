"""7: what grows with what: rows, workers, source length, beam, vocabulary, clients; and what a million sentences cost."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from beamstep.bench.prepared import Prepared
from benchmarks.peers import asked
from benchmarks.peers.floors import Shape, median_ms
from benchmarks.peers.load import MANY, loads
from benchmarks.peers.sides import P50, RATE, ours
from benchmarks.peers.table import Effort, Figures, Group, NotMeasuredError, Sides, Table, number
from serving.bundle import load_bundle
from serving.session import OnnxModel, SessionConfig

NAME: Final = "translation-en-de"
ROW_SOURCES: Final = (1, 2, 4, 8, 16, 32, 51)
POSITIONS: Final = 15
WORKERS: Final = (1, 2)
LENGTHS: Final = (5, 10, 20, 40, 80)
BEAMS: Final = (1, 2, 5, 10, 16)
VOCABULARIES: Final = (2000, 8000, 32000)
SYNTHETIC_HIDDEN: Final = 256
SYNTHETIC_EMBEDDING: Final = 192
CLIENTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SHORTER: Final = 0.5
"""Loads of a sweep take so much of the seconds of others."""
STEP: Final = "step, ms"
PER_ROW: Final = "step a row, us"
P99: Final = "p99, ms"
MIDDLE: Final = "p50, ms"
CALLS: Final = "answers/s"
PRICE: Final = 0.10
"""An hour of the example; whatever currency."""


def _bundle(effort: Effort) -> Path:
    return effort.models / NAME / "1"


@contextmanager
def _rows(effort: Effort) -> Iterator[Sides]:
    model = OnnxModel(load_bundle(_bundle(effort)), SessionConfig())

    def timed(shape: Shape, rows: int) -> Figures:
        middle = median_ms(lambda: shape.step(model))
        return {STEP: middle, PER_ROW: 1e3 * middle / rows}

    shapes = {sources * asked.BEAM_SIZE: Shape(model, sources, POSITIONS) for sources in ROW_SOURCES}
    yield Sides({f"{rows} rows": partial(timed, shape, rows) for rows, shape in shapes.items()})


@contextmanager
def _workers(effort: Effort) -> Iterator[Sides]:
    bundle = _bundle(effort)
    sent = asked.translations(asked.sentences(bundle))
    with ExitStack() as stack:
        sender = stack.enter_context(loads())
        servers = {
            count: stack.enter_context(ours(bundle, [*effort.serve, "--workers", str(count)])) for count in WORKERS
        }

        def measure(count: int) -> Figures:
            address = servers[count].address
            one = sender.closed(address, sent, 1, SHORTER * effort.seconds)
            many = sender.closed(address, sent, MANY, effort.seconds)
            return {P50: one.percentile_ms(50), RATE: many.per_second}

        pids = [pid for server in servers.values() for pid in server.pids]
        yield Sides(
            {f"{count} worker{'s' * (count > 1)}": partial(measure, count) for count in WORKERS},
            (*pids, *sender.pids),
        )


def _sweep(title: str, calls: Mapping[str, tuple[int, int]], model: str = NAME) -> Group:
    """Return a group of one client: by name, the pieces of source and answer, and the beam."""

    @contextmanager
    def opened(effort: Effort) -> Iterator[Sides]:
        bundle = effort.models / model / "1"
        sent = {
            name: asked.translations(asked.sentences(bundle, rounds=8, lengths=[pieces]), beam_size=beam, length=pieces)
            for name, (pieces, beam) in calls.items()
        }
        with ours(bundle, effort.serve) as server, loads() as sender:

            def measure(some: list[Prepared]) -> Figures:
                return {MIDDLE: sender.closed(server.address, some, 1, SHORTER * effort.seconds).percentile_ms(50)}

            measures = {name: partial(measure, some) for name, some in sent.items()}
            yield Sides(measures, (*server.pids, *sender.pids))

    return Group(title, opened)


@contextmanager
def _vocabulary(_: Effort) -> Iterator[Sides]:
    """Time a step of random weights; the vocabulary alone differs."""
    models = {size: OnnxModel(load_bundle(synthetic(size)), SessionConfig()) for size in VOCABULARIES}
    shapes = {size: (Shape(model, 1, POSITIONS), Shape(model, 8, POSITIONS)) for size, model in models.items()}

    def timed(size: int) -> Figures:
        one, many = shapes[size]
        return {
            "step of 5 rows, ms": median_ms(lambda: one.step(models[size])),
            "step of 40 rows, ms": median_ms(lambda: many.step(models[size])),
        }

    yield Sides({f"{size:,} tokens": partial(timed, size) for size in VOCABULARIES})


def synthetic(size: int) -> Path:
    """Return a bundle of random weights with that vocabulary, made where there is none. NotMeasuredError where it cannot be."""
    models = Path("build") / "peers" / f"vocabulary-{size}"
    folder = models / "synthetic" / "1"
    if not (folder / "manifest.json").exists():
        command = [sys.executable, "-m", "benchmarks.synthetic_bundle", str(models)]
        sizes = {
            "--vocabulary-size": size,
            "--hidden-size": SYNTHETIC_HIDDEN,
            "--embedding-size": SYNTHETIC_EMBEDDING,
        }
        given = [text for option, value in sizes.items() for text in (option, str(value))]
        done = subprocess.run([*command, *given], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise NotMeasuredError(f"benchmarks.synthetic_bundle: {done.stderr.strip()[-200:]}")
    return folder


@contextmanager
def _clients(effort: Effort) -> Iterator[Sides]:
    bundle = _bundle(effort)
    sent = asked.translations(asked.sentences(bundle))
    with ours(bundle, effort.serve) as server, loads() as sender:

        def measure(count: int) -> Figures:
            share = SHORTER if count <= MANY else 1.0  # the first answers of many clients take long to come
            load = sender.closed(server.address, sent, count, share * effort.seconds)
            return {CALLS: load.per_second, MIDDLE: load.percentile_ms(50), P99: load.percentile_ms(99)}

        names = {count: f"{count} client{'s' * (count > 1)}" for count in CLIENTS}
        measures = {name: partial(measure, count) for count, name in names.items()}
        yield Sides(measures, (*server.pids, *sender.pids))


def cost(found: Mapping[str, Figures]) -> Iterable[str]:
    """Yield what a million sentences cost at the best rate."""
    best = max(figures[CALLS] for figures in found.values())
    if best == 0:
        return
    million = price_of_a_million(1.0, best)
    yield (
        f"A million sentences cost price_per_hour * 10^6 / (3600 * rate); at {number(best)} sentences/s, price_per_hour * "
        f"{number(million)}: at {PRICE:.2f} an hour for the machine, {number(PRICE * million)}"
    )


def price_of_a_million(price_per_hour: float, rate: float) -> float:
    """Return what 10^6 answers cost on a machine that gives `rate` of them a second."""
    return price_per_hour * 1e6 / (3600 * rate)


TABLE: Final = Table(
    "scaling",
    (
        Group(f"rows of a step, {NAME}, {POSITIONS} positions", _rows),
        Group("workers", _workers),
        _sweep("source and answer length, one client", {f"{one} pieces": (one, asked.BEAM_SIZE) for one in LENGTHS}),
        _sweep("beam, one client, 14 pieces", {f"beam {beam}": (14, beam) for beam in BEAMS}),
        Group("vocabulary, random weights", _vocabulary),
        Group("clients", _clients, remarks=cost),
    ),
)
