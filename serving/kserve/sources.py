"""From tensors to what the typed requests call their sources: text, an image, points."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from beamstep.v1 import pointing_pb2
from serving.errors import InvalidRequest
from serving.kserve.tensors import Tensor
from serving.tasks.base import Task
from serving.tasks.pointing import Pointing

Payload = dict[str, Any]
"""Fields of one typed request, by name."""
Tensors = Mapping[str, Tensor]


def texts(tensors: Tensors, task: Task) -> list[Payload]:  # noqa: ARG001 - one signature for all
    """Return each element of `text` as UTF-8.

    Raises:
        InvalidRequest: one is not; the field is named `text[i]`.
    """
    payloads: list[Payload] = []
    for place, encoded in enumerate(tensors["text"].texts):
        try:
            payloads.append({"text": encoded.decode()})
        except UnicodeDecodeError:
            raise InvalidRequest(f"text[{place}]", "bytes that are not UTF-8", "UTF-8 text") from None
    return payloads


def images(tensors: Tensors, task: Task) -> list[Payload]:  # noqa: ARG001
    """Return each element of `image`, a file of any format that CaptioningService takes."""
    return [{"image": encoded} for encoded in tensors["image"].texts]


def point_sets(tensors: Tensors, task: Task) -> list[Payload]:
    """Return each set of `points`, (N, S, 2), without the padding that `point_counts`, (N,), tells of.

    Raises:
        InvalidRequest: a count is below 0 or above S, there are not N of them, or a set has too few or too many points.
    """
    assert isinstance(task, Pointing)
    points = tensors["points"].numbers
    counts = [points.shape[1]] * len(points)
    if "point_counts" in tensors:
        counts = tensors["point_counts"].numbers.reshape(-1).tolist()
    if len(counts) != len(points):
        raise InvalidRequest("point_counts", f"{len(counts)} of them", f"{len(points)}, one a set of points")
    payloads: list[Payload] = []
    for place, count in enumerate(counts):
        if not 0 <= count <= points.shape[1]:
            allowed = f"from 0 to {points.shape[1]}, the points that there are"
            raise InvalidRequest(f"point_counts[{place}]", str(count), allowed)
        with at_row(place):
            task.check_count(count)  # before they are unpacked: a message has room for a million
        rows = points[place, :count].tolist()
        payloads.append({"points": [pointing_pb2.Point(x=x, y=y) for x, y in rows]})
    return payloads


@contextmanager
def at_row(row: int) -> Iterator[None]:
    """Name the fields of errors that the typed request of one row raises as the KServe request has them.

    `text` becomes `text[row]`, `points[3].x` `points[row][3].x`, and `options.sampling.top_p` `parameters.top_p`.
    """
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(_renamed(error.field, row), error.given, error.allowed) from None


def _renamed(field: str, row: int) -> str:
    if field.startswith("options.") or field in {"repair", "symmetries"}:
        return f"parameters.{field.rpartition('.')[2]}"
    for name in ("text", "image", "points"):
        if field == name or field.startswith(f"{name}["):
            return f"{name}[{row}]{field.removeprefix(name)}"
    return field
