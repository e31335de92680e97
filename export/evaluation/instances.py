"""Instances of pointing problems in the text format of Vinyals et al. 2015: `x1 y1 ... xP yP output i1 i2 ... i1`.

Indices are 1-based. A hull or a tour names its points in order and the first one again at the end; a triangulation names three
points a triangle. `output` and what follows may be absent: then the line only asks.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.evaluation.lines import BadData, read_lines

Points = NDArray[np.float64]
"""(P, 2) coordinates, x then y."""
Triangle = tuple[int, int, int]

FEWEST_POINTS = 3


@dataclass(frozen=True)
class Instance:
    """One line of the file.

    Attributes:
        where: the file and the line, for messages.
        points: (P, 2) float64.
        output: zero-based indices as the line lists them, a closing one included; None where the line has no output.
        rounded: whether tours are also measured in distances rounded to integers, as TSPLIB does.
    """

    where: str
    points: Points
    output: tuple[int, ...] | None
    rounded: bool = False


def read_instances(path: Path, limit: int | None = None) -> list[Instance]:
    """Read the first `limit` instances (all where None) of a file, plain or gzip.

    Raises:
        BadData: the file is unreadable or empty, or a line is malformed; the message names the line.
    """
    return [parse_instance(line, f"{path}:{number}") for number, line in enumerate(read_lines(path)[:limit], start=1)]


def parse_instance(line: str, where: str) -> Instance:
    """Read one line.

    Raises:
        BadData: it has fewer than three points, half a point, something that is no finite number, or an index out of range.
    """
    head, separator, tail = line.partition("output")
    points = _parse_points(head.split(), where)
    output = tuple(_parse_index(word, len(points), where) for word in tail.split())
    if separator and not output:
        raise BadData(f"{where}: nothing after 'output'")
    return Instance(where, points, output if separator else None)


def format_instance(points: Points, output: Iterable[int] | None) -> str:
    """Write one line; `output` holds zero-based indices, a closing one included, and None leaves it out."""
    words = [repr(float(coordinate)) for coordinate in points.reshape(-1)]
    if output is not None:
        words += ["output", *(str(index + 1) for index in output)]
    return " ".join(words)


def as_cycle(instance: Instance) -> tuple[int, ...]:
    """Return the output as a cycle of distinct points, the closing repetition of the first dropped.

    Raises:
        BadData: the instance has no output, fewer than three points in it, or a point twice.
    """
    output = _output(instance)
    cycle = output[:-1] if output[0] == output[-1] else output
    if len(cycle) < FEWEST_POINTS or len(set(cycle)) < len(cycle):
        raise BadData(f"{instance.where}: the output must name at least three points, each once, then the first again")
    return cycle


def as_tour(instance: Instance) -> tuple[int, ...]:
    """Return the output as a tour of all points.

    Raises:
        BadData: the instance has no output, or it does not visit every point once.
    """
    tour = as_cycle(instance)
    if len(tour) != len(instance.points):
        raise BadData(f"{instance.where}: the tour visits {len(tour)} of {len(instance.points)} points")
    return tour


def as_triangles(instance: Instance) -> frozenset[Triangle]:
    """Return the output as triangles, each with its corners in rising order.

    Raises:
        BadData: the instance has no output, its length is no multiple of three, or a triangle has a corner twice.
    """
    output = _output(instance)
    if len(output) % 3:
        raise BadData(f"{instance.where}: {len(output)} indices after 'output' are no whole number of triangles")
    triangles = frozenset(sorted_triangle(output[start : start + 3]) for start in range(0, len(output), 3))
    if any(len(set(triangle)) < 3 for triangle in triangles):
        raise BadData(f"{instance.where}: a triangle names a corner twice")
    return triangles


def sorted_triangle(corners: Iterable[int]) -> Triangle:
    """Return three corners in rising order, so that equal triangles compare equal."""
    a, b, c = sorted(corners)
    return a, b, c


def _output(instance: Instance) -> tuple[int, ...]:
    if instance.output is None:
        raise BadData(f"{instance.where}: no 'output' on the line")
    return instance.output


def _parse_points(words: list[str], where: str) -> Points:
    if len(words) % 2 or len(words) < 2 * FEWEST_POINTS:
        raise BadData(f"{where}: {len(words)} coordinates; expected x and y of at least {FEWEST_POINTS} points")
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise BadData(f"{where}: {error}") from None
    if not all(map(math.isfinite, numbers)):
        raise BadData(f"{where}: a coordinate is not finite")
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)


def _parse_index(word: str, count: int, where: str) -> int:
    if not (word.isascii() and word.isdecimal() and 1 <= int(word) <= count):
        raise BadData(f"{where}: index {word}; allowed: 1 to {count}")
    return int(word) - 1
