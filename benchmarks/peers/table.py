"""What a table is: sides that are measured in turn, ratios between them, and what these should come to."""

import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from beamstep.bench.errors import GeneratorFailed
from beamstep.errors import ServiceError
from benchmarks.quiet import QUIET, quietest
from benchmarks.serving_process import ServingError

MODELS: Final = Path(__file__).parents[2] / "models"

Figures = Mapping[str, float]
"""What one side gave in one repeat, by the name of the figure with its unit, such as `p50, ms`."""
Measure = Callable[[], Figures]
"""Measures one side once; the figures and their names are the same every time."""


class NotMeasuredError(Exception):
    """A group cannot be measured here; the message says what is missing and how to get it."""


UNMEASURED: Final = (NotMeasuredError, ServingError, GeneratorFailed, ServiceError)
"""What leaves one group without figures; the others are still wanted."""


@dataclass(frozen=True)
class Effort:
    """How much is spent, and on what.

    Attributes:
        repeats: figures a side; the table has their median.
        seconds: of one load.
        models: the folder of the shipped bundles.
        peer: a folder of another project's model, for the tables that need one.
        data: the data folder, for the tables that can do more with it.
        serve: further options of our server, such as `--provider cuda`.
        device: where PyTorch computes, as torch names it.
    """

    repeats: int = 3
    seconds: float = 4.0
    models: Path = MODELS
    peer: Path | None = None
    data: Path | None = None
    serve: tuple[str, ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats: {self.repeats}; allowed: from 1")
        if self.seconds <= 0:
            raise ValueError(f"seconds: {self.seconds:g}; allowed: above 0")


@dataclass(frozen=True)
class Ratio:
    """One side's figure over another's; repeat by repeat, since those two were taken one after the other.

    Attributes:
        figure: its name.
        of: the side above.
        over: the side below; "" takes the figure of `of` as it is.
        target: what the median should come to; None only states it.
        at_most: whether it should be no more than the target, or no less.
    """

    figure: str
    of: str
    over: str = ""
    target: float | None = None
    at_most: bool = False

    def values(self, taken: Mapping[str, Sequence[Figures]]) -> list[float]:
        """Return the ratio of each repeat."""
        above = [figures[self.figure] for figures in taken[self.of]]
        if not self.over:
            return above
        below = [figures[self.figure] for figures in taken[self.over]]
        return [one / other if other else float("inf") for one, other in zip(above, below, strict=True)]

    def met(self, value: float) -> bool | None:
        """Say whether a value reaches the target; None where there is none."""
        if self.target is None:
            return None
        return value <= self.target if self.at_most else value >= self.target


@dataclass(frozen=True)
class Sides:
    """What is held against each other, ready to be measured.

    Attributes:
        measures: by name, in the order in which they are measured in every repeat and stand in the table.
        pids: processes that take part beside this one; what others take of the machine is not theirs.
    """

    measures: Mapping[str, Measure]
    pids: tuple[int, ...] = ()


def _nothing(_: Mapping[str, Figures]) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Group:
    """A part of a table, all of whose sides are up at once and measured in turn: A, B, A, B.

    Attributes:
        title: what it is about.
        open: makes the sides; NotMeasuredError where it cannot. What it starts is over when it is left.
        ratios: between the sides.
        remarks: makes further lines of the medians, by side and figure.
    """

    title: str
    open: Callable[[Effort], AbstractContextManager[Sides]]
    ratios: tuple[Ratio, ...] = ()
    remarks: Callable[[Mapping[str, Figures]], Iterable[str]] = _nothing


@dataclass(frozen=True)
class Table:
    """A table of docs/performance.md.

    Attributes:
        name: what the command calls it.
        groups: its parts, one after the other.
    """

    name: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Result:
    """A measured group.

    Attributes:
        title: the group's.
        ratios: the group's.
        taken: by side, the figures of each repeat.
        others: the most that other programs took of all cores in a repeat that counts, from 0 to 1.
        remarks: further lines.
        missing: why nothing was measured; "" where it was.
    """

    title: str
    ratios: tuple[Ratio, ...] = ()
    taken: Mapping[str, Sequence[Figures]] = field(default_factory=dict)
    others: float = 0.0
    remarks: tuple[str, ...] = ()
    missing: str = ""

    @property
    def met(self) -> bool:
        """Say whether it was measured and every target that there is was reached."""
        reached = [ratio.met(statistics.median(ratio.values(self.taken))) for ratio in self.ratios]
        return not self.missing and False not in reached


def measure(group: Group, effort: Effort) -> Result:
    """Measure a group, all sides in turn, as often as the effort says; repeats with too much else going on are taken again."""
    try:
        with group.open(effort) as sides:
            pids = (os.getpid(), *sides.pids)
            kept = quietest(lambda: _once(sides), pids, effort.repeats)
    except UNMEASURED as error:
        return Result(group.title, missing=str(error))
    taken = {name: [figures[name] for _, figures in kept] for name in sides.measures}
    others = max(share for share, _ in kept)
    return Result(group.title, group.ratios, taken, others, tuple(group.remarks(medians(taken))))


def _once(sides: Sides) -> dict[str, Figures]:
    """Measure each side once; what cannot be measured says which side it was."""
    taken: dict[str, Figures] = {}
    for name, one in sides.measures.items():
        try:
            taken[name] = one()
        except NotMeasuredError as error:
            raise NotMeasuredError(f"{name}: {error}") from error
    return taken


def medians(taken: Mapping[str, Sequence[Figures]]) -> dict[str, dict[str, float]]:
    """Return each side's figures, the median over the repeats."""
    return {
        side: {name: statistics.median(figures[name] for figures in repeats) for name in repeats[0]}
        for side, repeats in taken.items()
    }


# ---- as text


def as_markdown(result: Result) -> Iterator[str]:
    """Yield the lines of a group: its table, its ratios with their verdicts, its remarks."""
    yield f"**{result.title}**"
    yield ""
    if result.missing:
        yield f"Not measured: {result.missing}"
        yield ""
        return
    names = list(dict.fromkeys(name for repeats in result.taken.values() for name in repeats[0]))
    yield "| | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    for side, repeats in result.taken.items():
        cells = [spread([figures[name] for figures in repeats]) if name in repeats[0] else "" for name in names]
        yield f"| {side} | " + " | ".join(cells) + " |"
    yield ""
    lines = [*(_verdict(ratio, result) for ratio in result.ratios), *result.remarks]
    for line in lines:
        yield f"- {line}."
    if result.others > QUIET:
        yield f"- Other programs took up to {result.others:.0%} of the machine: take it again on a quieter one."
    yield ""


def _verdict(ratio: Ratio, result: Result) -> str:
    values = ratio.values(result.taken)
    what = f"{ratio.figure.partition(',')[0]}: {ratio.of}" + (f" over {ratio.over}" if ratio.over else "")
    said = f"{what} {spread(values)}"
    met = ratio.met(statistics.median(values))
    if met is None:
        return said
    bound = f"target at {'most' if ratio.at_most else 'least'} {ratio.target:g}"
    return f"{said}; {bound}: " + ("met" if met else "**MISSED**")


def spread(values: Sequence[float]) -> str:
    """Write the median, and least to most in brackets where there are several."""
    median = number(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    """Write a number with three digits that say something, without a power of ten."""
    return f"{float(f'{value:.3g}'):,.10g}"
