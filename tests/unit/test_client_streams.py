"""Streams and scores of the client against scripted servers; what is true of every call stands in test_client.py."""

import asyncio
import threading
import time
from contextlib import aclosing, closing

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from beamstep.channel import RetryPolicy
from beamstep.client import AsyncClient, Client, DecodingOptions
from beamstep.errors import Overloaded, ServiceError, TimedOut, Unavailable
from beamstep.v1.captioning_pb2 import (
    CaptioningServiceScoreTargetRequest,
    CaptioningServiceScoreTargetResponse,
    StreamCaptionImageRequest,
    StreamCaptionImageResponse,
)
from beamstep.v1.decoding_pb2 import Decoding
from beamstep.v1.model_pb2 import TASK_CONVEX_HULL, TASK_DELAUNAY, TASK_TOUR
from beamstep.v1.pointing_pb2 import Point, PointingServiceScoreTargetRequest, PointingServiceScoreTargetResponse
from beamstep.v1.translation_pb2 import (
    StreamTranslateTextRequest,
    StreamTranslateTextResponse,
    TranslateTextResponse,
    TranslationServiceScoreTargetRequest,
    TranslationServiceScoreTargetResponse,
)
from tests.unit.scripted import Captioning, Pointing, Translation, serving

QUICK = RetryPolicy(attempts=4, first_backoff_s=0.01, most_backoff_s=0.02)
OPTIONS = DecodingOptions(length_penalty=0.5)
PARTS = [
    StreamTranslateTextResponse(tentative_text="Ein", revision=1),
    StreamTranslateTextResponse(committed_text="Ein ", tentative_text="Hand", revision=2),
    StreamTranslateTextResponse(committed_text="Hund", revision=3, answer=TranslateTextResponse()),
]
SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]


def read_blocking(address, timeout_s=20.0):
    """Return the messages of a translation's stream, and what it failed with."""
    messages, error = [], None
    with Client(address, retry=QUICK, timeout_s=timeout_s) as client:
        try:
            for message in client.stream_translate("A dog"):
                messages.append(message)
        except ServiceError as caught:
            error = caught
    return messages, error


def read_async(address, timeout_s=20.0):
    """Return the same from the async client."""

    async def read():
        messages, error = [], None
        async with AsyncClient(address, retry=QUICK, timeout_s=timeout_s) as client:
            try:
                async for message in client.stream_translate("A dog"):
                    messages.append(message)
            except ServiceError as caught:
                error = caught
        return messages, error

    return asyncio.run(read())


both = pytest.mark.parametrize("read", [read_blocking, read_async])


@both
def test_the_messages_of_a_stream_come_as_they_were_sent(read):
    with serving(Translation(PARTS)) as address:
        assert read(address) == (PARTS, None)


def test_a_message_comes_before_the_next_is_sent():
    on = threading.Event()
    with serving(Translation([PARTS[0], on, PARTS[1]])) as address, Client(address) as client:
        messages = client.stream_translate("A dog")
        assert next(messages) == PARTS[0]
        on.set()
        assert list(messages) == [PARTS[1]]


async def test_the_async_client_too_has_a_message_before_the_next_is_sent():
    on = threading.Event()
    with serving(Translation([PARTS[0], on, PARTS[1]])) as address:
        async with AsyncClient(address) as client:
            messages = client.stream_translate("A dog")
            assert await anext(messages) == PARTS[0]
            on.set()
            assert [message async for message in messages] == [PARTS[1]]


def test_the_call_begins_with_the_first_message_asked_for():
    servicer = Translation(PARTS)
    with serving(servicer) as address, Client(address) as client:
        messages = client.stream_translate("A dog")
        assert servicer.requests == []
        next(messages)
        assert servicer.requests == [StreamTranslateTextRequest(text="A dog")]


def test_closing_the_iterator_cancels_the_call():
    servicer = Translation([PARTS[0], threading.Event()])
    with serving(servicer) as address, Client(address) as client:
        with closing(client.stream_translate("A dog")) as messages:
            next(messages)
            assert not servicer.over.is_set()
        assert servicer.over.wait(5)


def test_leaving_the_loop_cancels_the_call():
    servicer = Translation([PARTS[0], threading.Event()])
    with serving(servicer) as address, Client(address) as client:
        for _ in client.stream_translate("A dog"):
            break
        assert servicer.over.wait(5)


async def test_closing_the_async_iterator_cancels_the_call():
    servicer = Translation([PARTS[0], threading.Event()])
    with serving(servicer) as address:
        async with AsyncClient(address) as client, aclosing(client.stream_translate("A dog")) as messages:
            await anext(messages)
            await messages.aclose()
            assert await asyncio.to_thread(servicer.over.wait, 5)


async def test_leaving_the_async_loop_cancels_the_call():
    servicer = Translation([PARTS[0], threading.Event()])
    with serving(servicer) as address:
        async with AsyncClient(address) as client:
            async for _ in client.stream_translate("A dog"):
                break
            assert await asyncio.to_thread(servicer.over.wait, 5)


async def test_cancelling_the_task_cancels_the_call():
    servicer = Translation([PARTS[0], threading.Event()])
    begun = asyncio.Event()

    async def read(client):
        async for _ in client.stream_translate("A dog"):
            begun.set()

    with serving(servicer) as address:
        async with AsyncClient(address) as client:
            reading = asyncio.create_task(read(client))
            await begun.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert await asyncio.to_thread(servicer.over.wait, 5)


@both
def test_a_failure_within_a_stream_comes_after_the_messages_before_it(read):
    with serving(Translation([*PARTS[:2], grpc.StatusCode.INTERNAL])) as address:
        messages, error = read(address)
    assert messages == PARTS[:2]
    assert (type(error), error.status, error.message) == (ServiceError, grpc.StatusCode.INTERNAL, "as scripted")


@both
def test_a_stream_that_is_refused_says_when_to_try_again(read):
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=500_000_000)))
    full = rpc_status.to_status(status_pb2.Status(code=8, message="full", details=[detail]))
    with serving(Translation([full])) as address:
        messages, error = read(address)
    assert messages == []
    assert isinstance(error, Overloaded)
    assert error.retry_after_s == 0.5


@both
def test_unavailable_is_tried_again_before_the_first_message(read):
    servicer = Translation([grpc.StatusCode.UNAVAILABLE], PARTS)
    with serving(servicer) as address:
        assert read(address) == (PARTS, None)
    assert len(servicer.requests) == 2


@both
def test_unavailable_is_not_tried_again_once_a_message_has_come(read):
    servicer = Translation([PARTS[0], grpc.StatusCode.UNAVAILABLE], PARTS)
    with serving(servicer) as address:
        messages, error = read(address)
    assert messages == PARTS[:1]
    assert isinstance(error, Unavailable)
    assert len(servicer.requests) == 1


@both
def test_a_stream_takes_no_longer_than_the_timeout(read):
    began = time.monotonic()
    with serving(Translation([PARTS[0], threading.Event()])) as address:
        messages, error = read(address, timeout_s=0.3)
    assert messages == PARTS[:1]
    assert isinstance(error, TimedOut)
    assert time.monotonic() - began < 5


def test_an_image_that_is_not_there_is_missed_at_once(tmp_path):
    with Client("localhost:1") as client, pytest.raises(FileNotFoundError):
        client.stream_caption(tmp_path / "photo.jpg")


ANSWERS = {
    Translation: TranslationServiceScoreTargetResponse(decoding=Decoding(log_prob=-1.5)),
    Captioning: CaptioningServiceScoreTargetResponse(decoding=Decoding(log_prob=-2.5)),
    Pointing: PointingServiceScoreTargetResponse(decoding=Decoding(log_prob=-3.5)),
}
NAMED = {"model": "m", "model_version": "2", "options": OPTIONS}
POINTS = [Point(x=x, y=y) for x, y in SQUARE]
scores = pytest.mark.parametrize(
    ("kind", "method", "arguments", "request_"),
    [
        (
            Translation,
            "score_translation",
            ("A dog", "Ein Hund"),
            TranslationServiceScoreTargetRequest(text="A dog", target="Ein Hund", **NAMED),
        ),
        (
            Captioning,
            "score_caption",
            (b"an image", "a dog"),
            CaptioningServiceScoreTargetRequest(image=b"an image", target="a dog", **NAMED),
        ),
        (
            Pointing,
            "score_convex_hull",
            (SQUARE, [0, 1, 2, 3]),
            PointingServiceScoreTargetRequest(
                points=POINTS, task=TASK_CONVEX_HULL, point_indices=[0, 1, 2, 3], **NAMED
            ),
        ),
        (
            Pointing,
            "score_delaunay_triangulation",
            (SQUARE, [(0, 1, 2), (0, 2, 3)]),
            PointingServiceScoreTargetRequest(
                points=POINTS, task=TASK_DELAUNAY, point_indices=[0, 1, 2, 0, 2, 3], **NAMED
            ),
        ),
        (
            Pointing,
            "score_tour",
            (SQUARE, [3, 2, 1, 0]),
            PointingServiceScoreTargetRequest(points=POINTS, task=TASK_TOUR, point_indices=[3, 2, 1, 0], **NAMED),
        ),
    ],
)


@scores
def test_a_score_is_asked_for_with_everything_given(kind, method, arguments, request_):
    servicer = kind(ANSWERS[kind])
    with serving(servicer) as address, Client(address) as client:
        assert getattr(client, method)(*arguments, **NAMED) == ANSWERS[kind]
    assert servicer.requests == [request_]


@scores
async def test_the_async_client_asks_for_the_same_scores(kind, method, arguments, request_):
    servicer = kind(ANSWERS[kind])
    with serving(servicer) as address:
        async with AsyncClient(address) as client:
            assert await getattr(client, method)(*arguments, **NAMED) == ANSWERS[kind]
    assert servicer.requests == [request_]


def test_a_captions_stream_is_asked_for_with_everything_given(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"an image")
    parts = [StreamCaptionImageResponse(committed_text="a dog", revision=1)]
    servicer = Captioning(parts, parts)
    with serving(servicer) as address:
        with Client(address) as client:
            assert list(client.stream_caption(tmp_path / "photo.jpg", **NAMED)) == parts

        async def read():
            async with AsyncClient(address) as client:
                return [message async for message in client.stream_caption(b"an image", **NAMED)]

        assert asyncio.run(read()) == parts
    assert servicer.requests == [StreamCaptionImageRequest(image=b"an image", **NAMED)] * 2
