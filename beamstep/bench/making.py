"""Workload files made from what is at hand: sentences, photos, random points; the same seed makes the same file."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from beamstep.bench.errors import BadInput

DIGITS: Final = 6
"""Of a coordinate."""
PHOTOS: Final = (".jpg", ".jpeg", ".png", ".webp")


class Skew(StrEnum):
    """How lengths, or how often each item comes, are spread."""

    NATURAL = "natural"
    UNIFORM = "uniform"
    ZIPF = "zipf"
    LOGNORMAL = "lognormal"


Lengths = Callable[[int, np.random.Generator], Sequence[int]]


def sentences(
    file: Path, count: int, skew: Skew, *, shortest: int, longest: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield requests for sentences of a text file, a sentence a line, by their length in words.

    Args:
        file: UTF-8.
        count: how many.
        skew: natural takes lines as they come; the others draw a length, and then one of the lines nearest to it in length.
        shortest: fewest words.
        longest: most words.
        seed: of all draws.

    Raises:
        BadInput: no line is of such a length.
    """
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    fit = [line for line in lines if line and shortest <= len(line.split()) <= longest]
    if not fit:
        raise BadInput(f"{file}: no line of {shortest} to {longest} words; allowed: other --shortest and --longest")
    generator = np.random.default_rng(seed)
    if skew is Skew.NATURAL:
        chosen = generator.choice(len(fit), size=count, replace=count > len(fit)).tolist()
    else:
        sizes = np.array([len(line.split()) for line in fit])
        chosen = [
            _nearest(sizes, length, generator) for length in draw_lengths(skew, count, shortest, longest, generator)
        ]
    for place in chosen:
        yield {"text": fit[place]}


def photos(folder: Path, output: Path, count: int | None, skew: Skew, *, seed: int) -> Iterator[dict[str, Any]]:
    """Yield requests for the images of a folder and those below it, paths as seen from where the workload will lie.

    Args:
        folder: where to look.
        output: the workload's file.
        count: how many of them, chosen at random; None takes all.
        skew: natural and uniform ask all alike; zipf asks the k-th 1/k as often as the first; lognormal draws how often.
        seed: of all draws.

    Raises:
        BadInput: there are none.
    """
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PHOTOS)
    if not found:
        raise BadInput(f"{folder}: no image in it; allowed: a folder with files that end with {', '.join(PHOTOS)}")
    generator = np.random.default_rng(seed)
    if count is not None:
        found = [found[place] for place in generator.permutation(len(found))[:count]]
    weights = {
        Skew.ZIPF: 1 / np.arange(1, len(found) + 1),
        Skew.LOGNORMAL: np.sort(generator.lognormal(size=len(found)))[::-1],
    }.get(skew, np.ones(len(found)))
    for file, weight in zip(found, weights, strict=True):
        where = Path(os.path.relpath(file, output.resolve().parent)).as_posix()
        yield {"image": where} | ({} if weight == 1 else {"weight": round(float(weight), 6)})


def point_sets(task: str, count: int, skew: Skew, *, fewest: int, most: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield requests for points drawn evenly from the unit square, how many of them as `skew` says; natural is uniform."""
    generator = np.random.default_rng(seed)
    for size in draw_lengths(skew, count, fewest, most, generator):
        yield {"points": generator.random((size, 2)).round(DIGITS).tolist(), "task": task}


def draw_lengths(skew: Skew, count: int, low: int, high: int, generator: np.random.Generator) -> list[int]:
    """Draw lengths from `low` to `high`.

    uniform: each as often as any other. zipf: the k-th shortest comes 1/k as often as the shortest. lognormal: around the geometric
    middle, the ends two standard deviations away; what lies beyond them is drawn anew.
    """
    sizes = np.arange(low, high + 1)
    if skew is Skew.ZIPF:
        weights = 1 / np.arange(1, len(sizes) + 1)
        return [int(size) for size in generator.choice(sizes, size=count, p=weights / weights.sum())]
    if skew is not Skew.LOGNORMAL:
        return [int(size) for size in generator.choice(sizes, size=count)]
    middle, sigma = np.log(low * high) / 2, np.log(high / low) / 4
    found: list[int] = []
    while len(found) < count:
        drawn = np.rint(generator.lognormal(middle, sigma, size=count)).astype(int)
        found += [int(size) for size in drawn if low <= size <= high]
    return found[:count]


def write_workload(file: Path, requests: Iterator[dict[str, Any]]) -> int:
    """Write requests as JSON lines and return how many."""
    lines = [json.dumps(request, ensure_ascii=False) for request in requests]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


def check_range(low_option: str, low: int, high_option: str, high: int, least: int) -> None:
    """Find out that a range is one. BadInput names the option."""
    if low < least:
        raise BadInput(f"{low_option}: {low}; allowed: from {least}")
    if high < low:
        raise BadInput(f"{high_option}: {high}; allowed: from {low_option}, {low}")


def _nearest(sizes: np.ndarray[Any, Any], length: int, generator: np.random.Generator) -> int:
    """Return one of the lines whose length is nearest."""
    away = np.abs(sizes - length)
    return int(generator.choice(np.flatnonzero(away == away.min())))
