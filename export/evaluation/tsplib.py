"""Instances of TSPLIB (Reinelt 1991): NAME.tsp with coordinates, and NAME.opt.tour with an optimal tour beside it.

Distances are those of EDGE_WEIGHT_TYPE EUC_2D; other types are no distances in the plane, or not the Euclidean ones.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from export.evaluation.instances import FEWEST_POINTS, Instance
from export.evaluation.lines import BadData, read_lines

ENDING: Final = ".tsp"
TOUR_ENDING: Final = ".opt.tour"
KNOWN_TYPE: Final = "EUC_2D"


def is_tsplib(path: Path) -> bool:
    """Say whether a path is to be read as TSPLIB: a .tsp file, or a folder."""
    return path.suffix == ENDING or path.is_dir()


def read_tsplib(path: Path, limit: int | None = None) -> list[Instance]:
    """Read a .tsp file, or the first `limit` (all where None) of a folder by name; each with its .opt.tour where it has one.

    Raises:
        BadData: there is none, a file is unreadable or malformed, or its distances are not EUC_2D.
    """
    files = sorted(path.glob(f"*{ENDING}")) if path.is_dir() else [path]
    if not files:
        raise BadData(f"{path}: no {ENDING} files in it")
    return [_read_instance(file) for file in files[:limit]]


def _read_instance(file: Path) -> Instance:
    header, body = _read_sections(file, "NODE_COORD_SECTION")
    weights = header.get("EDGE_WEIGHT_TYPE", "none")
    if weights != KNOWN_TYPE:
        raise BadData(f"{file}: EDGE_WEIGHT_TYPE {weights}; allowed: {KNOWN_TYPE}")
    numbers: dict[str, int] = {}
    points: list[tuple[float, float]] = []
    for where, words in body:
        try:
            number, x, y = words[0], float(words[1]), float(words[2])
        except (IndexError, ValueError):
            raise BadData(f"{where}: {' '.join(words)!r}; expected a number and two coordinates") from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise BadData(f"{where}: a coordinate is not finite")
        if number in numbers:
            raise BadData(f"{where}: node {number} for the second time")
        numbers[number] = len(points)
        points.append((x, y))
    if len(points) < FEWEST_POINTS:
        raise BadData(f"{file}: {len(points)} points; expected at least {FEWEST_POINTS}")
    tour = file.with_name(file.name.removesuffix(ENDING) + TOUR_ENDING)
    output = _read_tour(tour, numbers) if tour.exists() else None
    return Instance(str(file), np.array(points, np.float64), output, rounded=True)


def _read_tour(file: Path, numbers: dict[str, int]) -> tuple[int, ...]:
    _, body = _read_sections(file, "TOUR_SECTION")
    order: list[int] = []
    for where, words in body:
        for word in words:
            if word == "-1":
                return tuple(order)
            if word not in numbers:
                raise BadData(f"{where}: node {word}, which the {ENDING} file does not have")
            order.append(numbers[word])
    return tuple(order)


def _read_sections(file: Path, section: str) -> tuple[dict[str, str], Sequence[tuple[str, list[str]]]]:
    """Return what stands before a section as keys and values, and the section's lines as words, each with its place."""
    lines = [line.strip() for line in read_lines(file)]
    if section not in lines:
        raise BadData(f"{file}: no {section}")
    begin = lines.index(section)
    header = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines[:begin])}
    body = []
    for number, line in enumerate(lines[begin + 1 :], start=begin + 2):
        if line == "EOF" or line.endswith("_SECTION"):
            break
        if line:
            body.append((f"{file}:{number}", line.split()))
    return header, body
