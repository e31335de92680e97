"""Runs as tables for people: a line a point, the median over its repeats, and how far they lie apart."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from beamstep.bench.judging import notes
from beamstep.bench.plan import Point, labels
from beamstep.bench.record import Run

Figure = Callable[[Run], float]
Points = dict[Point, list[Run]]
PARTS: Final = (
    "lateness",
    "transport",
    "queue",
    "encode",
    "decode",
    "step",
    "search",
    "server",
    "first",
    "committed",
    "between",
    "per_token",
)
"""In the order of a request's life; what a server names beyond them comes behind."""
THOUSAND: Final = 1000
"""Answers that a 99.9th percentile needs to be more than the slowest of them."""
HIDDEN: Final = ("latency", "service", "lag")
WIDEST: Final = 10_000
"""Columns that any table has room in; one is measured within so many, and within a console's it is never too wide."""


def by_point(runs: Sequence[Run]) -> dict[Point, list[Run]]:
    """Return the repeats of each point, points in the order they first came."""
    found: dict[Point, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.point].append(run)
    return dict(found)


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """Print rates and latencies, where the time went, and what is to be said of them."""
    points = by_point(runs)
    repeats = max(len(found) for found in points.values())
    names = labels(list(points))
    _print_latencies(console, points, names, repeats)
    _print_parts(console, points, names)
    for point, found in points.items():
        for note in notes(found):
            text = f"note: {names[point]}: {note}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_latencies(console: Console, points: Points, names: dict[Point, str], repeats: int) -> None:
    spread = f"; medians of {repeats} runs, p99 with the lowest and the highest" if repeats > 1 else ""
    console.print(f"latency in ms from when a request was due, rates a second{spread}")
    figures = ("offered", "achieved", "good", "p50", "p90", "p95", "p99", "p99.9", "max", "mean", "failed")
    rows = list[list[str]]()
    for point, runs in points.items():
        tail = [run.latency.percentile_ms(99) for run in runs]
        apart = f" ({_number(min(tail))}-{_number(max(tail))})" if len(tail) > 1 else ""
        rows.append(
            [
                names[point],
                *(
                    _median(runs, rate)
                    for rate in (lambda run: run.offered, lambda run: run.achieved, lambda run: run.goodput)
                ),
                *(_percentile(runs, percentile) for percentile in (50, 90, 95)),
                _number(statistics.median(tail)) + apart,
                _percentile(runs, 99.9) if min(run.latency.count for run in runs) >= THOUSAND else "",
                _median(runs, lambda run: run.latency.max_ms),
                _median(runs, lambda run: run.latency.mean_ms),
                str(sum(run.tally.failed for run in runs)),
            ]
        )
    print_loads(console, figures, rows)


def _print_parts(console: Console, points: Points, names: dict[Point, str]) -> None:
    named = {name for runs in points.values() for run in runs for name, part in run.tally.parts.items() if part.count}
    known = [name for name in PARTS if name in named]
    shown = [*known, *sorted(named - set(known) - set(HIDDEN))]
    console.print("where it went: p50 / p99 in ms")
    rows = list[list[str]]()
    for point, runs in points.items():
        cells = []
        for name in shown:
            have = [run.tally.parts[name] for run in runs if name in run.tally.parts and run.tally.parts[name].count]
            half, most = ([part.percentile_ms(percent) for part in have] for percent in (50, 99))
            cells.append(f"{_number(statistics.median(half))} / {_number(statistics.median(most))}" if have else "")
        rows.append([names[point], *cells])
    print_loads(console, [name.replace("_", " ") for name in shown], rows)


def print_loads(console: Console, figures: Sequence[str], loads: Sequence[Sequence[str]]) -> None:
    """Print a line for each load or, where that is wider than the console, a line for each figure.

    Args:
        console: where to.
        figures: their F names.
        loads: L of them, each its label and F cells.
    """
    table = _table(("load", *figures), loads)
    whole = console.measure(table, options=console.options.update_width(WIDEST)).maximum
    if whole > console.width:
        labelled, *columns = zip(*loads, strict=True)
        table = _table(("load", *labelled), [(name, *cells) for name, cells in zip(figures, columns, strict=True)])
    console.print(table)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table()
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _percentile(runs: Sequence[Run], percentile: float) -> str:
    return _median(runs, lambda run: run.latency.percentile_ms(percentile))


def _median(runs: Sequence[Run], figure: Figure) -> str:
    return _number(statistics.median(map(figure, runs)))


def _number(value: float) -> str:
    """Return three digits, no power of ten."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
