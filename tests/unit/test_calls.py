"""Every call is followed from its first to its last moment."""

import asyncio
import weakref
from types import SimpleNamespace

import grpc
import pytest
from grpc import StatusCode

from beamstep.v1 import translation_pb2, translation_pb2_grpc
from serving.calls.call import CURRENT, REQUEST_ID
from serving.calls.handlers import MOST_KEPT, kept
from serving.calls.interceptor import CallInterceptor
from serving.errors import Overloaded
from serving.servicers.status import StatusInterceptor

Request = translation_pb2.TranslateTextRequest


class Notes:
    def __init__(self):
        self.calls = []

    def began(self, call, context):
        assert call.ended == 0.0

    def ended(self, call, context):
        self.calls.append(call)


class Handler:
    """Any handler."""


class Failing:
    def began(self, call, context):
        raise RuntimeError("an observer's own fault")

    ended = began


class Servicer(translation_pb2_grpc.TranslationServiceServicer):
    async def TranslateText(self, request, context):
        if request.text == "busy":
            raise Overloaded("full")
        CURRENT.get().model = "m/1"
        return translation_pb2.TranslateTextResponse()

    async def StreamTranslateText(self, request, context):
        for _ in range(3):
            CURRENT.get().source_length += 1
            yield translation_pb2.StreamTranslateTextResponse()


@pytest.fixture
async def followed():
    notes = Notes()
    server = grpc.aio.server(interceptors=[CallInterceptor([Failing(), notes]), StatusInterceptor()])
    translation_pb2_grpc.add_TranslationServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield notes, translation_pb2_grpc.TranslationServiceStub(channel)
    await server.stop(0)


async def test_an_answered_call(followed):
    notes, stub = followed
    await stub.TranslateText(Request(text="a"), metadata=((REQUEST_ID, "mine"),))
    (call,) = notes.calls
    assert (call.method, call.service) == (
        "/beamstep.v1.TranslationService/TranslateText",
        "beamstep.v1.TranslationService",
    )
    assert (call.code, call.model, call.request_id) == (StatusCode.OK, "m/1", "mine")
    assert call.ended >= call.began
    assert CURRENT.get() is None


async def test_a_refused_call_keeps_its_status(followed):
    notes, stub = followed
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.TranslateText(Request(text="busy"))
    async with asyncio.timeout(30):
        while not notes.calls:  # the status is on its way before the handler has returned
            await asyncio.sleep(0)
    (call,) = notes.calls
    assert (call.code, call.details) == (StatusCode.RESOURCE_EXHAUSTED, "full")
    assert len(call.request_id) == 32


async def test_a_stream_is_one_call(followed):
    notes, stub = followed
    assert len([part async for part in stub.StreamTranslateText(translation_pb2.StreamTranslateTextRequest())]) == 3
    (call,) = notes.calls
    assert (call.code, call.source_length) == (StatusCode.OK, 3)


async def test_a_stream_given_up_between_two_messages_ends_without_a_word():
    """As gRPC gives it up: nobody closes it where it ran, and what it leaves behind is closed in another context."""
    notes = Notes()
    stream = grpc.unary_stream_rpc_method_handler(Servicer().StreamTranslateText)

    async def found(details):
        return stream

    handler = await CallInterceptor([notes]).intercept_service(found, SimpleNamespace(method="/a.Service/Method"))
    context = SimpleNamespace(invocation_metadata=tuple, peer=str, time_remaining=lambda: None)
    parts = handler.unary_stream(translation_pb2.StreamTranslateTextRequest(), context)
    await asyncio.create_task(anext(parts))
    await asyncio.create_task(parts.aclose())
    (call,) = notes.calls
    assert call.code is StatusCode.CANCELLED


def test_a_handler_is_wrapped_once_and_each_for_its_own_method():
    made = []

    def wrap(method, handler):
        made.append((method, handler))
        return method, handler

    around = kept(wrap)
    assert [around("/a", "one"), around("/a", "one"), around("/b", "one")] == [
        ("/a", "one"),
        ("/a", "one"),
        ("/b", "one"),
    ]
    assert made == [("/a", "one"), ("/b", "one")]


def test_a_handler_made_for_one_call_is_forgotten():
    handlers = [Handler() for _ in range(MOST_KEPT + 1)]
    first, around = weakref.ref(handlers[0]), kept(lambda method, handler: (method, handler))
    while handlers:
        around("/a", handlers.pop(0))
    assert first() is None
