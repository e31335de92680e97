"""Calls as bytes, of every method: sound requests, how a call ended, and what of an answer must never change."""

import io
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self

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
from serving.kserve.v2 import grpc_inference_pb2 as kserve_pb2

PACKAGE: Final = "/beamstep.v1."
KSERVE: Final = "inference.GRPCInferenceService/"
SQUARE: Final = ((0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0))
KITE: Final = ((0.0, 0.0), (3.0, 1.0), (4.0, 4.0), (1.0, 3.0), (0.5, 2.0))
OWN_LOCAL_POOL: Final = ("grpc.use_local_subchannel_pool", 1)
"""Gives a channel a connection of its own; gRPC shares one among channels to the same server otherwise."""


@dataclass(frozen=True)
class Subject:
    """What a server has, and four texts that it can translate."""

    texts: tuple[str, str, str, str]
    translation: str
    captioning: str
    hull: str


SENTENCES: Final = ("ein hund läuft", "eine frau fährt", "zwei kinder", "ein mann steht")
PLANNED: Final = Subject(SENTENCES, "translation", "captioning", "convex_hull")
SHIPPED: Final = Subject(
    (
        "A dog runs through the grass.",
        "A woman rides a bike.",
        "Two children play in the snow.",
        "A man is standing in front of a house and looks at the street.",
    ),
    "translation-en-de",
    "captioning-en",
    "hull",
)


@dataclass(frozen=True)
class Sound:
    """A request that a sound server answers.

    Attributes:
        rpc: service and method, such as "TranslationService/TranslateText"; of other packages than ours with the package.
        request: the message.
        response: the type of an answer's messages.
    """

    rpc: str
    request: Message
    response: type[Message]

    @property
    def path(self) -> str:
        """Return the method as gRPC names it."""
        return f"/{self.rpc}" if self.rpc.startswith(KSERVE) else PACKAGE + self.rpc

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
        if self.rpc.endswith("/ModelStatistics"):
            return b""
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


class Expected:
    """What a quiet server answers to each of some requests, to compare later answers with."""

    def __init__(self, sounds: Sequence[Sound], answers: Sequence[bytes]) -> None:
        self.sounds = sounds
        self._answers = {id(sound): answer for sound, answer in zip(sounds, answers, strict=True)}

    @classmethod
    async def of(cls, address: str, sounds: Sequence[Sound], timeout_s: float = 60.0) -> Self:
        """Ask a server for all of them, one after the other."""
        async with grpc.aio.insecure_channel(address) as channel:
            return cls(sounds, [sound.same((await ask(channel, sound, timeout_s)).messages) for sound in sounds])

    def fault(self, sound: Sound, ended: Ended) -> str:
        """Say what is wrong with a call that ended well; "" where its answer is the same."""
        try:
            if sound.same(ended.messages) == self._answers[id(sound)]:
                return ""
        except ValueError as error:
            return f"{sound.rpc}: {error}"
        return f"{sound.rpc} was answered differently"

    def changes(self, later: Self) -> list[str]:
        """Return the methods that another such round answers differently."""
        return [sound.rpc for sound in self.sounds if later._answers[id(sound)] != self._answers[id(sound)]]


@cache
def picture(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    """Return an image file of a kind, a gradient."""
    buffer = io.BytesIO()
    gradient = Image.linear_gradient("L").resize(size)
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(buffer, kind)
    return buffer.getvalue()


def sound_requests(subject: Subject = PLANNED) -> list[Sound]:
    """Return requests of every method, with options of every kind among them."""
    made: list[Sound] = []
    texts = subject.texts

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
    return [*made, *_kserve_requests(subject)]


def _kserve_requests(subject: Subject) -> list[Sound]:
    """Return requests in the protocol of KServe."""
    texts = kserve_pb2.ModelInferRequest(model_name=subject.translation, id="a")
    texts.parameters["beam_size"].int64_param = 3
    texts.inputs.add(name="text", datatype="BYTES", shape=[2]).contents.bytes_contents.extend(
        text.encode() for text in subject.texts[:2]
    )
    texts.outputs.add(name="text")
    images = kserve_pb2.ModelInferRequest(model_name=subject.captioning)
    images.inputs.add(name="image", datatype="BYTES", shape=[1, 1])
    images.raw_input_contents.append(struct.pack("<I", len(picture("PNG"))) + picture("PNG"))
    sets = kserve_pb2.ModelInferRequest(model_name=subject.hull)
    sets.inputs.add(name="points", datatype="FP64", shape=[2, 4, 2])
    sets.inputs.add(name="point_counts", datatype="INT32", shape=[2])
    sets.raw_input_contents.append(struct.pack("<16d", *(value for point in SQUARE * 2 for value in point)))
    sets.raw_input_contents.append(struct.pack("<2i", 4, 3))
    made = [Sound(f"{KSERVE}ModelInfer", request, kserve_pb2.ModelInferResponse) for request in (texts, images, sets)]
    made.append(Sound(f"{KSERVE}ServerReady", kserve_pb2.ServerReadyRequest(), kserve_pb2.ServerReadyResponse))
    for rpc in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
        request, response = getattr(kserve_pb2, f"{rpc}Request"), getattr(kserve_pb2, f"{rpc}Response")
        made.append(Sound(KSERVE + rpc, request(name=subject.hull), response))
    made.append(
        Sound(f"{KSERVE}RepositoryIndex", kserve_pb2.RepositoryIndexRequest(), kserve_pb2.RepositoryIndexResponse)
    )
    return made
