"""A stream tells the newest of what it knows, ends with the answer or its error, and takes its request with it."""

import asyncio
import json
from concurrent.futures import Future
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from beamstep.v1.decoding_pb2 import DecodingOptions, Sampling
from beamstep.v1.pointing_pb2 import FindTourRequest
from serving.bundle import MANIFEST_FILE, load_bundle
from serving.decoding.request import Progress
from serving.errors import Draining, ModelFault
from serving.registry import Registry
from serving.request import Decoded, Ticket
from serving.servicers.backend import Asked, Backend, Models
from serving.servicers.messages import requested_options
from serving.tasks.options import RequestedOptions
from serving.tasks.pointing import Tour
from tests.fakes.bundles import seal, write_bundle

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


# ---- what an answer depends on


def asked_of(task, **options) -> Asked:
    request = FindTourRequest(options=DecodingOptions(**options))
    source = task.source([(0, 0), (1, 0), (0, 1)])
    return Asked.of(Models((task,), (1.0,)), [source], task.plan(requested_options(request), source), request)


def test_a_bundle_with_another_content_under_the_same_name_has_answers_of_its_own(tmp_path):
    one = Tour(write_bundle(tmp_path / "a", "tour"))
    same = Tour(write_bundle(tmp_path / "b", "tour"))
    folder = write_bundle(tmp_path / "c", "tour").folder
    content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    seal(folder, content | {"description": "Published anew."})
    other = Tour(load_bundle(folder))
    assert one.bundle.key == same.bundle.key == other.bundle.key
    assert asked_of(one).fingerprint == asked_of(same).fingerprint
    assert asked_of(other).fingerprint not in {None, asked_of(one).fingerprint}


def test_options_are_part_of_what_an_answer_depends_on_but_for_urgency_and_deadlines(tmp_path):
    task = Tour(write_bundle(tmp_path, "tour"))
    plain = asked_of(task).fingerprint
    assert asked_of(task, priority="PRIORITY_HIGH", on_deadline="ON_DEADLINE_RETURN_BEST").fingerprint == plain
    others = [
        {"beam_size": 3},
        {"length_penalty": 0.25},
        {"include_attention": True},
        {"target_prefix_tokens": [4]},
        {"sampling": Sampling(seed=1)},
        {"sampling": Sampling(seed=2)},
    ]
    found = [asked_of(task, **options).fingerprint for options in others]
    assert len({plain, *found}) == 1 + len(found)
    assert asked_of(task, sampling=Sampling()).fingerprint is None, "drawn anew every time"
