"""Requests as the bytes that go over the wire, made before anything is measured, and what an answer says of its own time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from beamstep import requests
from beamstep.bench.errors import BadInput
from beamstep.bench.workload import Item
from beamstep.call_options import split_model
from beamstep.v1 import captioning_pb2, pointing_pb2, translation_pb2
from beamstep.v1.decoding_pb2 import DecodingOptions
from beamstep.v1.pointing_pb2 import REPAIR_NONE

TRANSLATE: Final = "/beamstep.v1.TranslationService/TranslateText"
STREAM_TRANSLATE: Final = "/beamstep.v1.TranslationService/StreamTranslateText"
CAPTION: Final = "/beamstep.v1.CaptioningService/CaptionImage"
STREAM_CAPTION: Final = "/beamstep.v1.CaptioningService/StreamCaptionImage"
HULL: Final = "/beamstep.v1.PointingService/FindConvexHull"
DELAUNAY: Final = "/beamstep.v1.PointingService/FindDelaunayTriangulation"
TOUR: Final = "/beamstep.v1.PointingService/FindTour"

ANSWERS: Final[dict[str, Any]] = {
    TRANSLATE: translation_pb2.TranslateTextResponse,
    STREAM_TRANSLATE: translation_pb2.StreamTranslateTextResponse,
    CAPTION: captioning_pb2.CaptionImageResponse,
    STREAM_CAPTION: captioning_pb2.StreamCaptionImageResponse,
    HULL: pointing_pb2.FindConvexHullResponse,
    DELAUNAY: pointing_pb2.FindDelaunayTriangulationResponse,
    TOUR: pointing_pb2.FindTourResponse,
}
POINTING: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "convex_hull": (HULL, requests.hull_request),
    "delaunay": (DELAUNAY, requests.triangulation_request),
    "tour": (TOUR, requests.tour_request),
}


@dataclass(frozen=True)
class Prepared:
    """One call, ready to go.

    Attributes:
        method: its path.
        request: the message.
        streams: whether the answer comes in parts.
        weight: how often it comes, beside the weights of the others.
    """

    method: str
    request: bytes
    streams: bool
    weight: float


def with_beam(item: Item, beam_size: int | None) -> DecodingOptions:
    """Return an item's options with another beam; None leaves it as it is."""
    options = DecodingOptions()
    options.CopyFrom(item.options)
    if beam_size is not None:
        options.beam_size = beam_size
    return options


def prepare(item: Item, *, model: str, beam_size: int | None, stream: bool) -> Prepared:
    """Return the call of our typed API that asks an item.

    Args:
        item: what is asked.
        model: for items that name none; "" leaves it to the server.
        beam_size: instead of the item's own; None leaves it.
        stream: ask for the answer in parts.

    Raises:
        BadInput: there is no such stream.
    """
    name, version = split_model(item.model or model)
    options = with_beam(item, beam_size)
    if item.task == "translation":
        make = requests.translation_stream_request if stream else requests.translation_request
        message: Any = make(str(item.source), name, version, options)
        method = STREAM_TRANSLATE if stream else TRANSLATE
    elif item.task == "captioning":
        assert isinstance(item.source, bytes)
        make_caption = requests.captioning_stream_request if stream else requests.captioning_request
        message = make_caption(item.source, name, version, options)
        method = STREAM_CAPTION if stream else CAPTION
    else:
        if stream:
            raise BadInput(f"--stream: given with a workload of {item.task}; allowed: with texts and images alone")
        method, make_points = POINTING[item.task]
        message = make_points(item.source, name, version, options, repair=REPAIR_NONE, symmetries=0)
    return Prepared(method, message.SerializeToString(), stream, item.weight)


def has_committed(method: str, message: bytes) -> bool:
    """Tell whether a message of a stream commits any text."""
    return bool(ANSWERS[method].FromString(message).committed_text)


def read_answer(method: str, message: bytes) -> tuple[tuple[tuple[str, float], ...], int]:
    """Return what an answer says of the server's time, by name in seconds, and the tokens of its best hypothesis."""
    kind = ANSWERS.get(method)
    if kind is None:
        return (), 0
    answer = kind.FromString(message)
    answer = answer.answer if method in (STREAM_TRANSLATE, STREAM_CAPTION) else answer
    spent = answer.timings
    parts = {"queue": spent.queue_time, "encode": spent.encode_time, "decode": spent.decode_time}
    if spent.HasField("step_time"):  # servers of before it did not split decoding
        parts |= {"step": spent.step_time, "search": spent.search_time}
    named = [(name, _seconds(duration)) for name, duration in parts.items()]
    tokens = len(answer.hypotheses[0].decoding.tokens) if answer.hypotheses else 0
    return (*named, ("server", _seconds(spent.total_time))), tokens


def read_server_timing(value: str) -> list[tuple[str, float]]:
    """Read a `server-timing` header, `name;dur=MILLISECONDS` and commas between; in seconds. What is otherwise is left out."""
    found = []
    for entry in value.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, number = parameter.partition("=")
            if name and key.strip().lower() == "dur":
                try:
                    found.append((name, float(number) / 1e3))
                except ValueError:
                    continue
    return found


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
