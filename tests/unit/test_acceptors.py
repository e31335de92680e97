"""Calls are taken several at a time, or one at a time where grpc.aio is not as it was; either way all are answered."""

import asyncio
from collections import Counter

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from beamstep.v1 import translation_pb2, translation_pb2_grpc
from serving.calls import acceptors
from serving.calls.acceptors import AT_ONCE, AT_ONCE_CROWDED, FEWER, MORE, REST_S, ROUNDS, TAKING, Acceptors
from serving.calls.methods import Methods
from serving.errors import Overloaded
from serving.servicers.status import StatusInterceptor

Request = translation_pb2.TranslateTextRequest
SERVICE = "/beamstep.v1.TranslationService"


class Servicer(translation_pb2_grpc.TranslationServiceServicer):
    def __init__(self):
        self.inside = 0
        self.go = asyncio.Event()

    async def TranslateText(self, request, context):
        if request.text == "busy":
            raise Overloaded("full")
        self.inside += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.inside -= 1
            raise
        return translation_pb2.TranslateTextResponse(source_pieces=[request.text])

    async def StreamTranslateText(self, request, context):
        for word in request.text.split():
            yield translation_pb2.StreamTranslateTextResponse(committed_text=word)


@pytest.fixture(params=[True, False], ids=["several", "one"])
async def served(request, monkeypatch):
    """A servicer behind acceptors of two of its methods, and a client."""
    monkeypatch.setattr(acceptors, "known", lambda: request.param)
    methods, servicer, interceptors = Methods(), Servicer(), [StatusInterceptor()]
    server = grpc.aio.server(interceptors=interceptors)
    translation_pb2_grpc.add_TranslationServiceServicer_to_server(servicer, methods)
    server.add_generic_rpc_handlers((methods,))
    busy = [f"{SERVICE}/TranslateText", f"{SERVICE}/StreamTranslateText", "/no.Such/Method"]
    taking = Acceptors(server, methods, interceptors, busy, lambda: True)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    before = asyncio.all_tasks()
    taking.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, translation_pb2_grpc.TranslationServiceStub(channel), channel
    await server.stop(0)
    await asyncio.sleep(0.05)
    assert not (asyncio.all_tasks() - before - {asyncio.current_task()}), "nothing waits for calls any more"


class Core:
    """Has no call for anybody until it is told to, but those of `queues`, so many of a method."""

    def __init__(self):
        self.waiting = []
        self.queues = Counter()

    def is_running(self):
        return True

    def _request_registered_call(self, path):
        loop, method = asyncio.get_running_loop(), path.decode()
        future = loop.create_future()
        self.waiting.append((method, future))
        if self.queues[method]:
            self.queues[method] -= 1
            loop.call_soon(future.set_result, None)
        return future


def answered_at_once(monkeypatch):
    """Have every call that is taken be over."""

    async def handled(*_):
        pass

    async def scheduled(coroutine, *_):
        await coroutine

    monkeypatch.setattr(acceptors.CORE, "_handle_rpc", handled)
    monkeypatch.setattr(acceptors.CORE, "_schedule_rpc_coro", scheduled)


async def test_no_method_is_left_to_be_taken_one_at_a_time(monkeypatch):
    """A method that grpc.aio takes by itself is not served while many calls at a time of the others come: health, for one."""
    methods = Methods()
    server = grpc.aio.server()
    translation_pb2_grpc.add_TranslationServiceServicer_to_server(Servicer(), methods)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), methods)
    server.add_generic_rpc_handlers((methods,))
    busy = f"{SERVICE}/TranslateText"
    crowded = False
    taking = Acceptors(server, methods, [], [busy], lambda: crowded)

    core = taking._core = Core()
    answered_at_once(monkeypatch)
    rests = []
    monkeypatch.setattr(acceptors.time, "sleep", rests.append)

    async def asked():
        await asyncio.sleep(0.01)
        return Counter(path for path, future in core.waiting if not future.done())

    taking.start()
    usual = {name: AT_ONCE if name == busy else 1 for name in methods.names}
    assert await asked() == usual
    assert "/grpc.health.v1.Health/Check" in usual
    named = Counter(task.get_name() for task in taking._tasks)
    assert named == {TAKING + name: count for name, count in usual.items()}

    def take_one():
        """Let one call come, of any method."""
        next(future for _, future in core.waiting if not future.done()).set_result(None)

    take_one()
    assert await asked() == usual
    assert rests == []
    crowded = True
    for _ in range(2):
        take_one()
        assert await asked() == {
            name: AT_ONCE_CROWDED if name == busy else AT_ONCE_CROWDED // 4 for name in methods.names
        }
    assert rests == [REST_S] * 2, "the loop rests after a call that came while a queue was full"
    crowded = False
    for _ in range(MORE // AT_ONCE // 2):  # too few for one more to be asked for
        for _, future in list(core.waiting):
            if not future.done():
                future.set_result(None)
        await asyncio.sleep(0)
    assert await asked() == usual, "as before, once there is room again"
    assert len(rests) == 2
    for task in taking._tasks:
        task.cancel()


async def test_more_calls_are_taken_at_once_of_a_method_whose_calls_wait(monkeypatch):
    methods = Methods()
    translation_pb2_grpc.add_TranslationServiceServicer_to_server(Servicer(), methods)
    busy = [f"{SERVICE}/TranslateText", f"{SERVICE}/StreamTranslateText"]
    taking = Acceptors(grpc.aio.server(), methods, [], busy, lambda: False)
    core = taking._core = Core()
    answered_at_once(monkeypatch)
    method = busy[0]

    async def asked():
        async with asyncio.timeout(10):
            while core.queues[method]:
                await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return Counter(path for path, future in core.waiting if not future.done())

    def come_later():
        """Let the one call come that has been asked for the longest."""
        next(future for path, future in core.waiting if path == method and not future.done()).set_result(None)

    core.queues[method] = MORE - AT_ONCE
    taking.start()
    usual = {name: AT_ONCE if name in busy else 1 for name in methods.names}
    assert await asked() == usual, "as many as clients who call again together"
    core.queues[method] = (AT_ONCE_CROWDED + 1) * MORE
    come_later()
    assert await asked() == usual | {method: AT_ONCE_CROWDED}
    for _ in range(MORE + AT_ONCE_CROWDED * FEWER):
        come_later()
        for _ in range(ROUNDS + 1):
            await asyncio.sleep(0)
    assert await asked() == usual, "as before, once none are waiting"
    for task in taking._tasks:
        task.cancel()


def test_the_installed_version_is_known():
    """Otherwise calls are taken one at a time: see what has changed in grpc.aio's server, then KNOWN."""
    assert acceptors.known()


async def inside(servicer, count: int) -> None:
    async with asyncio.timeout(30):
        while servicer.inside != count:
            await asyncio.sleep(0.01)


async def test_more_calls_than_are_taken_at_once_are_answered(served):
    servicer, stub, _ = served
    calls = [stub.TranslateText(Request(text=str(number))) for number in range(5 * AT_ONCE_CROWDED)]
    await inside(servicer, len(calls))
    servicer.go.set()
    assert [(await call).source_pieces for call in calls] == [[str(number)] for number in range(len(calls))]


async def test_streams_errors_and_methods_there_are_none_of(served):
    _, stub, channel = served
    request = translation_pb2.StreamTranslateTextRequest(text="ein hund")
    assert [part.committed_text async for part in stub.StreamTranslateText(request)] == ["ein", "hund"]
    for call, code in (
        (stub.TranslateText(Request(text="busy")), StatusCode.RESOURCE_EXHAUSTED),
        (channel.unary_unary("/no.Such/Method")(b""), StatusCode.UNIMPLEMENTED),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is code


async def test_a_call_that_is_cancelled_ends_its_handler(served):
    servicer, stub, _ = served
    calls = [stub.TranslateText(Request(text="a")) for _ in range(2 * AT_ONCE_CROWDED)]
    await inside(servicer, len(calls))
    for call in calls:
        call.cancel()
    await inside(servicer, 0)
