"""What to ask: a file of JSON lines, each a request with its options and how often it comes."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf.json_format import ParseDict, ParseError

from beamstep.bench.errors import BadInput
from beamstep.points import Point
from beamstep.v1.decoding_pb2 import DecodingOptions

SOURCES: Final = ("text", "image", "points")
FIELDS: Final = (*SOURCES, "task", "options", "weight", "model")
POINT_TASKS: Final = ("convex_hull", "delaunay", "tour")
BLOCK: Final = 4096


@dataclass(frozen=True)
class Item:
    """One request.

    Attributes:
        task: translation, captioning, or one of `POINT_TASKS`.
        source: a text, the bytes of an image file, or points.
        options: of the search; what is not set is the model's default.
        weight: how often it comes, beside the weights of the others.
        model: NAME or NAME/VERSION; "" leaves it to the command and the server.
    """

    task: str
    source: str | bytes | tuple[Point, ...]
    options: DecodingOptions
    weight: float = 1.0
    model: str = ""


@dataclass(frozen=True)
class Workload:
    """The requests of a file.

    Attributes:
        name: the file's.
        sha256: of its bytes, and those of the images it names.
        items: at least one.
    """

    name: str
    sha256: str
    items: tuple[Item, ...]

    def picks(self, seed: tuple[int, ...]) -> Iterator[int]:
        """Yield places of items without end, each as often as its weight says; the same seed yields the same."""
        return picks([item.weight for item in self.items], seed)


def picks(weights: list[float], seed: tuple[int, ...]) -> Iterator[int]:
    """Yield places without end, each as often as its weight says."""
    generator = np.random.default_rng(seed)
    shares = np.array(weights) / sum(weights)
    while True:
        yield from generator.choice(len(shares), size=BLOCK, p=shares).tolist()


def read_workload(file: Path) -> Workload:
    """Read a workload; an image's path is taken from the file's folder on.

    Raises:
        BadInput: names line and field, what was given and what is allowed.
        FileNotFoundError: there is no such file.
    """
    content = file.read_bytes()
    digest = hashlib.sha256(content)
    items = []
    for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = _item(line, file.parent)
        except BadInput as error:
            raise BadInput(f"{file}, line {number}: {error}") from None
        if isinstance(item.source, bytes):
            digest.update(item.source)
        items.append(item)
    if not items:
        raise BadInput(f"{file}: no request in it; allowed: a JSON object on each line")
    return Workload(file.name, digest.hexdigest(), tuple(items))


def _item(line: str, folder: Path) -> Item:
    try:
        given = json.loads(line)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise BadInput(f"{line[:60]!r}; allowed: a JSON object")
    for name in given:
        if name not in FIELDS:
            raise BadInput(f"{name}: is no field; allowed: {', '.join(FIELDS)}")
    sources = [name for name in SOURCES if name in given]
    if len(sources) != 1:
        raise BadInput(f"{' and '.join(sources) or 'no source'}; allowed: exactly one of {', '.join(SOURCES)}")
    task, source = _source(sources[0], given, folder)
    model = given.get("model", "")
    if not isinstance(model, str):
        raise BadInput(f"model: {model!r}; allowed: NAME or NAME/VERSION")
    return Item(task, source, _options(given.get("options", {})), _weight(given.get("weight", 1)), model)


def _source(kind: str, given: Mapping[str, Any], folder: Path) -> tuple[str, str | bytes | tuple[Point, ...]]:
    """Return the task and what it is given."""
    value = given[kind]
    if kind != "points" and "task" in given:
        raise BadInput(f"task: {given['task']!r}; allowed: only beside points")
    if kind == "text":
        if not isinstance(value, str):
            raise BadInput(f"text: {value!r}; allowed: a string")
        return "translation", value
    if kind == "image":
        if not isinstance(value, str):
            raise BadInput(f"image: {value!r}; allowed: the path of an image file")
        try:
            return "captioning", (folder / value).read_bytes()
        except OSError as error:
            raise BadInput(f"image: {value}: {error.strerror}; allowed: the path of an image file") from None
    task = given.get("task")
    if task not in POINT_TASKS:
        raise BadInput(f"task: {task!r}; allowed beside points: {', '.join(POINT_TASKS)}")
    return task, _points(value)


def _points(value: Any) -> tuple[Point, ...]:
    if not isinstance(value, list):
        raise BadInput(f"points: {value!r}; allowed: a list of pairs of numbers")
    for place, point in enumerate(value):
        if not (isinstance(point, list) and len(point) == 2 and all(_is_number(number) for number in point)):
            raise BadInput(f"points[{place}]: {point!r}; allowed: two finite numbers")
    return tuple((float(x), float(y)) for x, y in value)


def _options(value: Any) -> DecodingOptions:
    if not isinstance(value, dict):
        raise BadInput(f"options: {value!r}; allowed: an object with fields of DecodingOptions")
    try:
        return ParseDict(value, DecodingOptions())
    except ParseError as error:
        allowed = "fields of DecodingOptions, as protos/beamstep/v1/decoding.proto has them"
        raise BadInput(f"options: {str(error).splitlines()[0]}; allowed: {allowed}") from None


def _weight(value: Any) -> float:
    if not _is_number(value) or value <= 0:
        raise BadInput(f"weight: {value!r}; allowed: a finite number above 0")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
