"""Whatever comes over the wire gets a status that blames the right one, with a field that exists; and the server goes on."""

import io
import re
from collections.abc import Iterator
from itertools import chain

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from grpc import StatusCode
from PIL import Image

from beamstep.v1 import captioning_pb2, model_pb2, pointing_pb2, translation_pb2
from tests.fakes.nasty import nasty, not_utf8
from tests.fakes.stubs import Refusal, Stubs, picture, points, read, read_refusal

CALLERS_OWN = {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}
SQUARE = points([(0, 0), (2, 0), (2, 2), (0, 2)])
TEXT = "ein hund"
GOOD: dict[str, Message] = {
    "TranslationService/TranslateText": translation_pb2.TranslateTextRequest(text=TEXT),
    "TranslationService/StreamTranslateText": translation_pb2.StreamTranslateTextRequest(text=TEXT),
    "TranslationService/ScoreTarget": translation_pb2.TranslationServiceScoreTargetRequest(text=TEXT, target=TEXT),
    "CaptioningService/CaptionImage": captioning_pb2.CaptionImageRequest(image=picture()),
    "CaptioningService/StreamCaptionImage": captioning_pb2.StreamCaptionImageRequest(image=picture()),
    "CaptioningService/ScoreTarget": captioning_pb2.CaptioningServiceScoreTargetRequest(image=picture(), target=TEXT),
    "PointingService/FindConvexHull": pointing_pb2.FindConvexHullRequest(points=SQUARE),
    "PointingService/FindDelaunayTriangulation": pointing_pb2.FindDelaunayTriangulationRequest(points=SQUARE),
    "PointingService/FindTour": pointing_pb2.FindTourRequest(points=SQUARE),
    "PointingService/ScoreTarget": pointing_pb2.PointingServiceScoreTargetRequest(
        points=SQUARE, task=model_pb2.TASK_TOUR, point_indices=[0, 1, 2, 3]
    ),
    "ModelService/ListModels": model_pb2.ListModelsRequest(),
    "ModelService/GetModel": model_pb2.GetModelRequest(name="tour"),
}


def call(stubs: Stubs, rpc: str, data: bytes) -> Refusal | None:
    """Send wire bytes; return how they were refused, None where they were answered."""
    path = f"/beamstep.v1.{rpc}"
    streams = rpc.split("/")[1].startswith("Stream")
    method = stubs.channel.unary_stream(path) if streams else stubs.channel.unary_unary(path)
    try:
        read(method(data, timeout=60))
    except grpc.RpcError as error:
        return read_refusal(error)
    return None


def check_refusal(refused: Refusal, request: type[Message]) -> None:
    """State what holds of every refusal of bad input."""
    assert refused.code in CALLERS_OWN
    assert len(refused.message) < 500
    if refused.code is StatusCode.INVALID_ARGUMENT:
        [field] = refused.fields
        assert refused.message.startswith(f"{field}: ")
        assert "; allowed: " in refused.message
        assert field == "request" or exists(field, request.DESCRIPTOR), field


def exists(path: str, message) -> bool:
    """Whether a message type has a field of this path."""
    for name in re.sub(r"\[\d+\]", "", path).split("."):
        field = message.fields_by_name.get(name)
        if field is None:
            return False
        message = field.message_type
    return True


def check_serving(stubs: Stubs) -> None:
    for rpc, good in GOOD.items():
        assert call(stubs, rpc, good.SerializeToString()) is None


@pytest.fixture(autouse=True)
def _goes_on(stubs) -> Iterator[None]:
    """After every test all rpcs are answered."""
    yield
    check_serving(stubs)


@pytest.mark.parametrize("rpc", GOOD)
def test_every_odd_value_of_every_field_is_answered_or_refused_with_a_field(stubs, rpc):
    statuses = []
    for path, request in nasty(GOOD[rpc]):
        refused = call(stubs, rpc, request.SerializeToString())
        statuses.append("" if refused is None else refused.message)
        if refused is not None:
            try:
                check_refusal(refused, type(request))
            except AssertionError as error:
                raise AssertionError(f"{path}: {refused}") from error
    assert len(statuses) > 100 or rpc.startswith("ModelService")
    assert any(statuses) or rpc == "ModelService/ListModels"


@pytest.mark.parametrize("rpc", [rpc for rpc in GOOD if not rpc.startswith("ModelService")])
def test_several_odd_options_at_once_are_answered_or_refused(stubs, rpc):
    good = GOOD[rpc]
    odd = [request.options for path, request in nasty(good) if path.startswith("options.")]
    random = np.random.default_rng(10)
    for _ in range(60):
        request = type(good)()
        request.CopyFrom(good)
        for choice in random.integers(0, len(odd), 3):
            request.options.MergeFrom(odd[choice])
        refused = call(stubs, rpc, request.SerializeToString())
        if refused is not None:
            check_refusal(refused, type(good))


@pytest.mark.parametrize("rpc", GOOD)
def test_a_string_that_is_not_utf8_is_named_wherever_it_stands(stubs, rpc):
    for path, data in not_utf8(GOOD[rpc]):
        refused = call(stubs, rpc, data)
        assert refused is not None
        assert refused.code is StatusCode.INVALID_ARGUMENT
        assert refused.message == f"{path}: bytes that are not UTF-8; allowed: UTF-8 text"


@pytest.mark.parametrize("rpc", GOOD)
def test_a_message_cut_anywhere_is_answered_or_refused(stubs, rpc):
    whole = GOOD[rpc].SerializeToString()
    for size in range(min(len(whole), 80)):
        refused = call(stubs, rpc, whole[:size])
        if refused is not None:
            check_refusal(refused, type(GOOD[rpc]))


@pytest.mark.parametrize("rpc", GOOD)
def test_random_bytes_are_answered_or_refused(stubs, rpc):
    random = np.random.default_rng(8)
    for size in chain(range(40), (1000, 100_000)):
        refused = call(stubs, rpc, random.integers(0, 256, size, np.uint8).tobytes())
        if refused is not None:
            check_refusal(refused, type(GOOD[rpc]))


def encoded(kind: str) -> bytes:
    noise = np.random.default_rng(3).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_cut_or_damaged_anywhere_is_the_callers_fault_or_captioned(stubs, kind):
    whole = encoded(kind)
    random = np.random.default_rng(9)
    damaged = [whole[: len(whole) * part // 20] for part in range(20)]
    for _ in range(30):
        flipped = bytearray(whole)
        for place in random.integers(0, len(whole), 3).tolist():
            flipped[place] ^= 1 << int(random.integers(8))
        damaged.append(bytes(flipped))
    for image in damaged:
        request = captioning_pb2.CaptionImageRequest(image=image)
        refused = call(stubs, "CaptioningService/CaptionImage", request.SerializeToString())
        if refused is not None:
            assert refused.fields == ["image"], refused


def test_an_image_that_claims_a_billion_pixels_is_refused_before_it_is_decoded(stubs):
    bomb = bytearray(encoded("PNG"))
    bomb[16:24] = (40_000).to_bytes(4) * 2  # width and height of the first chunk; its checksum is wrong now
    buffer = io.BytesIO()
    Image.new("1", (8000, 8000)).save(buffer, "PNG")  # a few kB of 64 million pixels
    for image in (bytes(bomb), buffer.getvalue()):
        request = captioning_pb2.CaptionImageRequest(image=image)
        refused = call(stubs, "CaptioningService/CaptionImage", request.SerializeToString())
        assert refused is not None
        assert (refused.code, refused.fields) == (StatusCode.INVALID_ARGUMENT, ["image"])


@pytest.mark.parametrize(
    "coordinates",
    [
        [(0, 0), (1e150, 0), (0, -1e150)],
        [(5e-324, 0), (0, 5e-324), (1, 1)],
        [(0, 0), (0, 0), (0, 0), (1, 0), (1, 1), (1, 1)],
        [(1e150, 1e150), (1e150, -1e150), (-1e150, 1e150), (-1e150, -1e150), (0, 0), (5e-324, 0)],
        [(1, 1), (1 + 2e-16, 1), (1, 1 + 2e-16), (0, 0), (3, 3)],
    ],
)
def test_points_of_any_size_are_answered_or_refused(stubs, coordinates):
    for rpc in ("FindConvexHull", "FindDelaunayTriangulation", "FindTour"):
        good = GOOD[f"PointingService/{rpc}"]
        data = type(good)(points=points(coordinates)).SerializeToString()
        refused = call(stubs, f"PointingService/{rpc}", data)
        if refused is not None:
            check_refusal(refused, type(good))


def test_what_no_service_offers_is_unimplemented(stubs):
    for rpc in ("TranslationService/Translate", "AdminService/Shutdown", "PointingService/StreamFindTour"):
        refused = call(stubs, rpc, b"")
        assert refused is not None
        assert refused.code is StatusCode.UNIMPLEMENTED
