"""Calls as bytes, of every method: sound requests, how a call ended, and what of an answer must never change."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from grpc import StatusCode
from PIL import Image

from beamstep.requests import (
    captioning_request,
    captioning_score_request,
    captioning_stream_request,
    hull_request,
    hull_score_request,
    tour_request,
    tour_score_request,
    translation_request,
    translation_score_request,
    translation_stream_request,
    triangulation_request,
)
from beamstep.v1 import captioning_pb2, model_pb2, pointing_pb2, translation_pb2
from beamstep.v1.decoding_pb2 import DecodingOptions, Sampling
from beamstep.v1.pointing_pb2 import REPAIR_FIX, REPAIR_NONE

PACKAGE: Final = "/beamstep.v1."
SQUARE: Final = ((0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0))
KITE: Final = ((0.0, 0.0), (3.0, 1.0), (4.0, 4.0), (1.0, 3.0), (0.5, 2.0))
SENTENCES: Final = ("ein hund läuft", "eine frau fährt", "zwei kinder", "ein mann steht")
OWN_LOCAL_POOL: Final = ("grpc.use_local_subchannel_pool", 1)
"""Gives a channel a connection of its own; gRPC shares one among channels to the same server otherwise."""


@dataclass(frozen=True)
class Sound:
    """A request that a sound server answers.

    Attributes:
        rpc: service and method, such as "TranslationService/TranslateText".
        request: the message.
        response: the type of an answer's messages.
    """

    rpc: str
    request: Message
    response: type[Message]

    @property
    def path(self) -> str:
        """Return the method as gRPC names it."""
        return PACKAGE + self.rpc

    @property
    def streams(self) -> bool:
        """Say whether the answer comes in parts."""
        return "/Stream" in self.rpc

    def same(self, messages: Sequence[bytes]) -> bytes:
        """Return what of an answer does not depend on when it came: all but timings and the parts of a stream.

        Raises:
            ValueError: a stream's parts do not make up its answer, or it has none.
        """
        parts: list[Any] = [self.response.FromString(message) for message in messages]
        if not parts:
            raise ValueError("no message")
        answer = parts[-1]
        if self.streams:
            answer = parts[-1].answer
            if not answer.hypotheses:
                raise ValueError("a stream without its answer")
            best = answer.hypotheses[0]
            text = best.text if self.rpc.startswith("Translation") else best.caption
            if "".join(part.committed_text for part in parts) != text:
                raise ValueError("a stream whose parts do not make up its answer")
        if "timings" in answer.DESCRIPTOR.fields_by_name:
            answer.ClearField("timings")
        return bytes(answer.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    Attributes:
        code: its status.
        details: what the server said of an error.
        messages: those that came.
        seconds: from beginning to end.
    """

    code: StatusCode
    details: str
    messages: Sequence[bytes]
    seconds: float


async def call(channel: grpc.aio.Channel, path: str, data: bytes, timeout_s: float, *, streams: bool) -> Ended:
    """Make one call with bytes as they are and see it to its end, whatever that is."""
    began = time.perf_counter()
    messages: list[bytes] = []
    code, details = StatusCode.OK, ""
    untyped: Any = channel  # its stubs know no methods of bytes
    try:
        if streams:
            messages.extend([message async for message in untyped.unary_stream(path)(data, timeout=timeout_s)])
        else:
            messages.append(await untyped.unary_unary(path)(data, timeout=timeout_s))
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), error.details() or ""
    return Ended(code, details, messages, time.perf_counter() - began)


async def ask(channel: grpc.aio.Channel, sound: Sound, timeout_s: float) -> Ended:
    """Make the call of a sound request."""
    return await call(channel, sound.path, sound.request.SerializeToString(), timeout_s, streams=sound.streams)


@cache
def picture(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    """Return an image file of a kind, a gradient."""
    buffer = io.BytesIO()
    gradient = Image.linear_gradient("L").resize(size)
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(buffer, kind)
    return buffer.getvalue()


def sound_requests(texts: Sequence[str] = SENTENCES) -> list[Sound]:
    """Return requests of every method, with options of every kind among them."""
    made: list[Sound] = []

    def add(rpc: str, request: Message, response: type[Message]) -> None:
        made.append(Sound(rpc, request, response))

    wide = DecodingOptions(beam_size=4, hypothesis_count=3, include_attention=True)
    drawn = DecodingOptions(sampling=Sampling(seed=7, temperature=0.5, top_k=5), hypothesis_count=2)
    ruled = DecodingOptions(no_repeat_ngram_size=2, repetition_penalty=1.5, coverage_penalty=0.2, patience=1.0)
    for text, options in zip(texts, (None, wide, drawn, ruled), strict=True):
        add(
            "TranslationService/TranslateText",
            translation_request(text, "", "", options),
            translation_pb2.TranslateTextResponse,
        )
    for text in texts[:2]:
        add(
            "TranslationService/StreamTranslateText",
            translation_stream_request(text, "", "", None),
            translation_pb2.StreamTranslateTextResponse,
        )
    add(
        "TranslationService/ScoreTarget",
        translation_score_request(texts[0], "ein hund", "", "", None),
        translation_pb2.TranslationServiceScoreTargetResponse,
    )
    for kind, options in zip(("JPEG", "PNG", "WEBP"), (None, wide, drawn), strict=True):
        add(
            "CaptioningService/CaptionImage",
            captioning_request(picture(kind), "", "", options),
            captioning_pb2.CaptionImageResponse,
        )
    add(
        "CaptioningService/StreamCaptionImage",
        captioning_stream_request(picture("JPEG"), "", "", None),
        captioning_pb2.StreamCaptionImageResponse,
    )
    add(
        "CaptioningService/ScoreTarget",
        captioning_score_request(picture("PNG"), "ein hund", "", "", None),
        captioning_pb2.CaptioningServiceScoreTargetResponse,
    )
    for points, repair, symmetries in ((SQUARE, REPAIR_NONE, 0), (KITE, REPAIR_FIX, 4)):
        add(
            "PointingService/FindConvexHull",
            hull_request(points, "", "", None, repair=repair, symmetries=symmetries),
            pointing_pb2.FindConvexHullResponse,
        )
        add(
            "PointingService/FindDelaunayTriangulation",
            triangulation_request(points, "", "", None, repair=repair, symmetries=symmetries),
            pointing_pb2.FindDelaunayTriangulationResponse,
        )
        add(
            "PointingService/FindTour",
            tour_request(points, "", "", None, repair=repair, symmetries=symmetries),
            pointing_pb2.FindTourResponse,
        )
    for scoring in (
        tour_score_request(SQUARE, (0, 1, 2, 3), "", "", None),
        hull_score_request(SQUARE, (0, 1, 2), "", "", None),
    ):
        add("PointingService/ScoreTarget", scoring, pointing_pb2.PointingServiceScoreTargetResponse)
    add("ModelService/ListModels", model_pb2.ListModelsRequest(), model_pb2.ListModelsResponse)
    add("ModelService/GetModel", model_pb2.GetModelRequest(name="tour"), model_pb2.GetModelResponse)
    return made
