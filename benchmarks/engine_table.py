"""Measures what the engine promises, row by row, and prints the table: python -m benchmarks.engine_table.

    python -m benchmarks.engine_table --rows 1,7 --bundles synthetic --repeats 9 --json table.json

For the shipped translation bundle and for one of random weights and full size (benchmarks/synthetic_bundle.py), which is made when
it is not there yet. Repeats in which other programs took more than a tenth of the machine are taken again, up to as many again; the
column `others` has the most that they took in those that count, and a verdict with a question mark wants a quieter machine. The
memory of 100,000 requests has a command of its own, `python -m benchmarks.memory_growth`.
"""

import functools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from beamstep.client import Client
from beamstep.output import output_console
from benchmarks import environment
from benchmarks.bare_loop import BareLoop
from benchmarks.clients import TIMEOUT_S, ClientProcess
from benchmarks.comparisons import ROWS, Bench, Outcome, Row
from benchmarks.quiet import QUIET, quietest
from benchmarks.serving_process import serving
from benchmarks.workload import Workload

SYNTHETIC_MODELS: Final = Path("build/benchmarks")
EVERY_BUNDLE: Final = "any"


@dataclass(frozen=True)
class Subject:
    """A bundle to measure.

    Attributes:
        models: the folder of bundles it lies in.
        key: `name/version`.
        ends: whether it says `eos` by itself.
    """

    models: Path
    key: str
    ends: bool


SUBJECTS: Final = {
    "shipped": Subject(Path("models"), "translation-en-de/1", ends=True),
    "synthetic": Subject(SYNTHETIC_MODELS, "synthetic/1", ends=False),
}


@dataclass(frozen=True)
class Result:
    """One measured row.

    Attributes:
        row: its number.
        title: what it is.
        bundle: of which bundle, or EVERY_BUNDLE.
        unit: of the figures; "" is a ratio.
        values: one figure a repeat.
        target: what the median should reach.
        at_most: whether it should be no more than that, or no less.
        met: whether it does.
        parts: the medians of what the figure was made of.
        others: the most that other programs took of all cores in a repeat, from 0 to 1.
    """

    row: int
    title: str
    bundle: str
    unit: str
    values: tuple[float, ...]
    target: float
    at_most: bool
    met: bool
    parts: dict[str, float]
    others: float

    @property
    def median(self) -> float:
        """Return the figure of the table."""
        return statistics.median(self.values)

    @property
    def summary(self) -> str:
        """Return that figure with its unit."""
        return figure(self.median, self.unit)

    @property
    def verdict(self) -> str:
        """Say whether the target is met; with a question mark where others took so much that it may be otherwise."""
        return ("yes" if self.met else "NO") + ("?" if self.others > QUIET else "")

    @property
    def detail(self) -> str:
        """Return the parts as text."""
        return ", ".join(f"{name} {figure(value)}" for name, value in self.parts.items())


def engine_table(
    rows: Annotated[str, typer.Option(help="Numbers of rows, such as 1,2,7; all by default.")] = "",
    bundles: Annotated[str, typer.Option(help=f"Some of {','.join(SUBJECTS)}.")] = ",".join(SUBJECTS),
    repeats: Annotated[int, typer.Option(min=1, help="Figures a row; the table has their median.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here too.")] = None,
) -> None:
    """Measure the engine against what it is held to."""
    console = output_console(highlight=False)
    chosen = _chosen(rows, {str(row.number): row for row in ROWS}, "--rows")
    subjects = _chosen(bundles, SUBJECTS, "--bundles")
    machine = environment.describe()
    for name, value in machine.items():
        console.print(f"{name}: {value}", markup=False)
    results = []
    progress = Console(stderr=True, highlight=False)
    for result in measure(chosen, subjects, repeats):
        others = f"others took up to {100 * result.others:.0f} %"
        progress.print(f"{result.bundle}, row {result.row}: {result.summary} ({result.detail}; {others})", markup=False)
        results.append(result)
    console.print(table(results))
    if json_file is not None:
        document = {"environment": machine, "results": [asdict(result) for result in results]}
        json_file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def measure(rows: Sequence[Row], subjects: Sequence[Subject], repeats: int) -> Iterator[Result]:
    """Yield each row's result as it is there, bundle by bundle."""
    for number, subject in enumerate(subjects):
        own = [row for row in rows if row.bundled or not number]
        if not own:
            continue
        with bench_of(subject) as bench:
            for row in own:
                row.measure(bench)  # so that nothing is measured for the first time
                yield result_of(row, subject, quietest(functools.partial(row.measure, bench), bench.pids, repeats))


@contextmanager
def bench_of(subject: Subject) -> Iterator[Bench]:
    """Load and serve a bundle within a block."""
    folder = subject.models / subject.key
    if subject.models == SYNTHETIC_MODELS and not folder.exists():
        # Another process, so that torch is not in the one that measures.
        subprocess.run([sys.executable, "-m", "benchmarks.synthetic_bundle", str(SYNTHETIC_MODELS)], check=True)
    with ExitStack() as stack:
        server = stack.enter_context(serving(subject.models, ["--prefer", subject.key.partition("/")[0]]))
        clients = stack.enter_context(ClientProcess(server.address))
        bare = BareLoop(folder)
        yield Bench(
            bare,
            Workload(bare.task, ends=subject.ends),
            stack.enter_context(Client(server.address, timeout_s=TIMEOUT_S)),
            clients,
            (os.getpid(), server.pid, clients.pid),
        )


def result_of(row: Row, subject: Subject, repeats: Sequence[tuple[float, Outcome]]) -> Result:
    """Put a row's repeats together, each with the share that others took."""
    outcomes = [outcome for _, outcome in repeats]
    values = tuple(outcome.value for outcome in outcomes)
    parts = {name: statistics.median(outcome.parts[name] for outcome in outcomes) for name in outcomes[0].parts}
    return Result(
        row.number,
        row.title,
        subject.key if row.bundled else EVERY_BUNDLE,
        row.unit,
        values,
        row.target,
        row.at_most,
        row.met(statistics.median(values)),
        parts,
        max(share for share, _ in repeats),
    )


def table(results: Iterable[Result]) -> Table:
    """Return the results as a table."""
    drawn = Table("", "what", "bundle", "measured", "least..most", "target", "met", "others", "of which")
    for result in results:
        spread = f"{figure(min(result.values))}..{figure(max(result.values))}"
        target = f"{'≤' if result.at_most else '≥'} {result.target:g} {result.unit}".strip()
        figures = (result.summary, spread, target, result.verdict, f"{100 * result.others:.0f} %", result.detail)
        drawn.add_row(str(result.row), result.title, result.bundle, *figures)
    return drawn


def figure(value: float, unit: str = "") -> str:
    """Write a number with about three digits."""
    return f"{value:.{3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0}f} {unit}".strip()


def _chosen(given: str, allowed: dict[str, Any], option: str) -> list[Any]:
    names = [name.strip() for name in given.split(",") if name.strip()] or list(allowed)
    for name in names:
        if name not in allowed:
            raise typer.BadParameter(f"given {name!r}; allowed: some of {','.join(allowed)}", param_hint=option)
    return [allowed[name] for name in names]


if __name__ == "__main__":
    typer.run(engine_table)
