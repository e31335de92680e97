"""A client that knows only the protos: the generated stubs, and what a refusal carries."""

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from beamstep.v1 import pointing_pb2
from beamstep.v1.captioning_pb2_grpc import CaptioningServiceStub
from beamstep.v1.model_pb2_grpc import ModelServiceStub
from beamstep.v1.pointing_pb2_grpc import PointingServiceStub
from beamstep.v1.translation_pb2_grpc import TranslationServiceStub

TIMEOUT_S = 30


class Stubs:
    """All services on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.translation = TranslationServiceStub(channel)
        self.captioning = CaptioningServiceStub(channel)
        self.pointing = PointingServiceStub(channel)
        self.models = ModelServiceStub(channel)


class Refusal(NamedTuple):
    """What an RPC error says.

    Attributes:
        code: its status.
        message: for people.
        fields: named in its BadRequest.
        retry_s: of its RetryInfo; None without one.
    """

    code: grpc.StatusCode
    message: str
    fields: list[str]
    retry_s: float | None


def refusal(call: Callable[..., Any], request: Message, timeout: float = TIMEOUT_S) -> Refusal:
    """Make a call that must fail; of a stream all messages are read."""
    with pytest.raises(grpc.RpcError) as caught:
        read(call(request, timeout=timeout))
    return read_refusal(caught.value)


def read(answer: Any) -> list[Any]:
    """Return the messages of an answer, one unless it is a stream."""
    return list(answer) if isinstance(answer, grpc.RpcContext) else [answer]


def read_refusal(error: grpc.RpcError) -> Refusal:
    """Return what an error says; the status in its details must be the same as its own."""
    fields, retry_s = [], None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            assert (status.code, status.message) == (error.code().value[0], error.details())
            for detail in status.details:
                bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
                if detail.Unpack(bad):
                    fields += [violation.field for violation in bad.field_violations]
                elif detail.Unpack(retry):
                    retry_s = retry.retry_delay.ToNanoseconds() / 1e9
    return Refusal(error.code(), error.details(), fields, retry_s)


def points(coordinates: Sequence[tuple[float, float]]) -> list[pointing_pb2.Point]:
    """Return points as requests take them."""
    return [pointing_pb2.Point(x=x, y=y) for x, y in coordinates]


def picture(colour: str = "white", kind: str = "PNG") -> bytes:
    """Return an image file of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, kind)
    return buffer.getvalue()
