"""A stream tells the newest of what it knows, ends with the answer or its error, and takes its request with it."""

import asyncio
from concurrent.futures import Future
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from serving.decoding.request import Progress
from serving.errors import Draining, ModelFault
from serving.registry import Registry
from serving.request import Decoded, Ticket
from serving.servicers.backend import Asked, Backend, Models
from serving.tasks.options import RequestedOptions
from serving.tasks.pointing import Tour
from tests.fakes.bundles import write_bundle

CONTEXT = SimpleNamespace(time_remaining=lambda: None)
DECODED = Decoded((), 0.0, 0.0, 0.0, 5)


class ManualEngine:
    """Holds one request, which the test tells of its progress and answers."""

    def __init__(self) -> None:
        self.future: Future[Decoded] = Future()

    def submit(self, *_, on_progress, **__) -> Ticket:
        self.tell = on_progress
        return Ticket(self.future)


@pytest.fixture
def asked(tmp_path) -> Asked:
    tour = Tour(write_bundle(tmp_path, "tour"))
    source = tour.source([(0, 0), (1, 0), (0, 1)])
    return Asked(Models((tour,), (1.0,)), [source], tour.plan(RequestedOptions(), source))


@pytest.fixture
def engine() -> ManualEngine:
    return ManualEngine()


@pytest.fixture
def backend(engine) -> Backend:
    backend = Backend(Registry([]))
    backend.attach(engine)
    return backend


def progress(count: int) -> Progress:
    return Progress(tuple(range(count)), 0)


async def waiting(stream) -> asyncio.Task:
    """Begin to wait for the next news, so that the request is with the engine."""
    news = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.01)
    return news


async def test_who_reads_slowly_misses_progress_but_never_the_newest(backend, engine, asked):
    async with aclosing(backend.stream(asked, CONTEXT)) as stream:
        news = await waiting(stream)
        for count in range(1, 6):
            engine.tell(progress(count))
        assert await news == progress(5)
        for count in range(6, 100):
            engine.tell(progress(count))
        await asyncio.sleep(0.01)
        assert await anext(stream) == progress(99)
        engine.tell(progress(100))
        engine.future.set_result(DECODED)
        await asyncio.sleep(0.01)
        assert [last async for last in stream] == [DECODED], "the answer says all that the progress before it did"


async def test_a_stream_ends_with_the_error_of_its_request(backend, engine, asked):
    async with aclosing(backend.stream(asked, CONTEXT)) as stream:
        news = await waiting(stream)
        engine.tell(progress(1))
        assert await news == progress(1)
        engine.future.set_exception(ModelFault("no such memory"))
        with pytest.raises(ModelFault):
            await anext(stream)


async def test_closing_a_stream_withdraws_its_request(backend, engine, asked):
    async with aclosing(backend.stream(asked, CONTEXT)) as stream:
        news = await waiting(stream)
        engine.tell(progress(1))
        await news
    await asyncio.sleep(0.01)
    assert engine.future.cancelled()


async def test_cancelling_a_stream_that_waits_withdraws_its_request(backend, engine, asked):
    stream = backend.stream(asked, CONTEXT)
    news = await waiting(stream)
    news.cancel()
    with pytest.raises(asyncio.CancelledError):
        await news
    await asyncio.sleep(0.01)
    assert engine.future.cancelled()


async def test_progress_told_after_the_event_loop_has_closed_is_let_go(backend, engine, asked):
    def begin_and_leave() -> None:
        async def begin() -> None:
            await waiting(backend.stream(asked, CONTEXT))

        asyncio.run(begin())

    await asyncio.to_thread(begin_and_leave)
    engine.tell(progress(1))


async def test_before_the_models_are_loaded_a_stream_is_refused_as_any_call(asked):
    with pytest.raises(Draining, match="loading its models"):
        await anext(Backend(Registry([])).stream(asked, CONTEXT))
