"""Starting, draining and stopping; calls that are cancelled, late or too many."""

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from beamstep.client import AsyncClient, RetryPolicy
from beamstep.errors import Overloaded, ServiceError, TimedOut, Unavailable
from beamstep.v1.decoding_pb2 import DecodingOptions
from serving.bundle import load_bundle
from serving.calls.doors import CLOSED
from serving.config import ServerConfig
from serving.errors import BadBundle, BadConfiguration
from serving.scheduler import Limits
from serving.server import Server, running_server
from serving.session import OnnxModel, SessionConfig
from tests.fakes.bundles import write_bundle
from tests.fakes.planned import PlannedModel, open_planned

ONCE = RetryPolicy(attempts=1)
KEY = "translation/2"
SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]


def configuration(models, **changes) -> ServerConfig:
    return ServerConfig(models, host="127.0.0.1", port=0, session=SessionConfig(step_threads=1), **changes)


@pytest.fixture
def opened():
    return {}


@pytest.fixture
def open_model(opened):
    def open_model(bundle, session) -> PlannedModel:
        opened[bundle.key] = open_planned(bundle, session)
        return opened[bundle.key]

    return open_model


def client_of(server: Server, timeout_s: float = 20) -> AsyncClient:
    return AsyncClient(f"127.0.0.1:{server.port}", timeout_s=timeout_s, retry=ONCE)


async def health_of(server: Server, service: str = "") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        return answer.status


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_cancelled_call_frees_its_rows(models, opened, open_model):
    async with running_server(configuration(models), open_model) as server, client_of(server) as client:
        opened[KEY].turn.clear()
        call = asyncio.create_task(client.translate("ein hund", options=DecodingOptions(beam_size=4)))
        await until(lambda: server.engine.load(KEY).running_rows == 4)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.1)  # for the cancellation to cross the wire
        opened[KEY].turn.set()
        await until(lambda: server.engine.load(KEY).running_rows == 0)
        assert server.engine.counters.cancelled == 1
        assert server.engine.counters.finished == 0
        assert (await client.translate("ein hund")).hypotheses[0].text == "ein hund"


async def test_the_clients_deadline_ends_a_request_in_the_engine_too(models, opened, open_model):
    async with running_server(configuration(models), open_model) as server:
        opened[KEY].turn.clear()
        async with client_of(server, timeout_s=0.3) as client:
            with pytest.raises(TimedOut) as caught:
                await client.translate("ein hund")
        assert caught.value.status is grpc.StatusCode.DEADLINE_EXCEEDED
        opened[KEY].turn.set()
        await until(lambda: server.engine.load(KEY).running_requests == 0)
        counters = server.engine.counters
        assert counters.cancelled + counters.expired == 1
        assert counters.finished == 0


async def test_a_request_beyond_the_queue_is_refused_at_once(models, opened, open_model):
    limits = Limits(waiting_requests=2, batch_rows=8)
    async with running_server(configuration(models, limits=limits), open_model) as server, client_of(server) as client:
        opened[KEY].turn.clear()
        widest = DecodingOptions(beam_size=8)
        running = asyncio.create_task(client.translate("ein hund", options=widest))
        await until(lambda: server.engine.load(KEY).running_requests == 1)
        waiting = [asyncio.create_task(client.translate("ein hund", options=widest)) for _ in range(2)]
        await until(lambda: server.engine.load(KEY).waiting_requests == 2)
        began = time.monotonic()
        with pytest.raises(Overloaded) as caught:
            await client.translate("ein hund")
        assert time.monotonic() - began < 2
        assert caught.value.status is grpc.StatusCode.RESOURCE_EXHAUSTED
        elsewhere = asyncio.create_task(client.find_tour(SQUARE))
        await until(lambda: server.engine.load("tour/1").waiting_requests == 1)
        opened[KEY].turn.set()
        assert (await elsewhere).hypotheses[0].valid, "another model's queue is not full"
        answers = await asyncio.gather(running, *waiting)
        assert [answer.hypotheses[0].text for answer in answers] == ["ein hund"] * 3


async def test_health_and_calls_while_the_models_load(models):
    loading, loaded = threading.Event(), threading.Event()

    def open_slowly(bundle, session):
        loading.set()
        assert loaded.wait(20)
        return open_planned(bundle, session)

    server = Server(configuration(models), open_slowly)
    await server.start()
    try:
        load = asyncio.create_task(server.load())
        await until(loading.is_set)
        assert await health_of(server) == health_pb2.HealthCheckResponse.NOT_SERVING
        async with client_of(server) as client:
            with pytest.raises(Unavailable, match="loading its models"):
                await client.translate("ein hund")
            assert len((await client.list_models()).models) == 6
        loaded.set()
        await load
        assert await health_of(server) == health_pb2.HealthCheckResponse.SERVING
    finally:
        loaded.set()
        await server.stop(0)


async def test_health_says_serving_once_every_bucket_of_every_model_ran(shipped_models):
    """Asked in the middle of each graph run, and over the wire, where the loading thread stands still meanwhile."""
    ran: dict[str, set[int]] = {}
    statuses: set[int] = set()

    class Watched(OnnxModel):
        def step(self, inputs, memory, state, *, attention=False):
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                statuses.add(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status)
            ran.setdefault(self.bundle.key, set()).add(memory["memory_mask"].shape[1])
            return super().step(inputs, memory, state, attention=attention)

    config = configuration(shipped_models, services=("pointing",))
    server = Server(config, Watched)
    await server.start()
    try:
        await server.load()
        assert await health_of(server) == health_pb2.HealthCheckResponse.SERVING
    finally:
        await server.stop(0)
    assert statuses == {health_pb2.HealthCheckResponse.NOT_SERVING}
    bundles = [load_bundle(shipped_models / name / "1") for name in ("hull", "delaunay", "tour")]
    assert ran == {bundle.key: set(bundle.manifest.source_buckets) for bundle in bundles}


async def test_draining_finishes_what_runs_and_refuses_what_comes(models, opened, open_model):
    server = Server(configuration(models), open_model)
    await server.start()
    await server.load()
    async with client_of(server) as client, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        opened[KEY].turn.clear()
        running = asyncio.create_task(client.translate("ein hund"))
        await until(lambda: server.engine.load(KEY).running_requests == 1)
        stopping = asyncio.create_task(server.stop(10))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        async with client_of(server) as late:
            with pytest.raises(Unavailable):
                await late.translate("ein hund")
        assert not stopping.done()
        opened[KEY].turn.set()
        assert (await running).hypotheses[0].text == "ein hund"
        await asyncio.wait_for(stopping, 10)


async def test_who_calls_again_as_the_last_answer_goes_out_is_told_to_go_elsewhere(models, open_model, monkeypatch):
    """By the server's own word, behind the end of the engine: gRPC would drop such a call as CANCELLED."""
    monkeypatch.setattr("serving.server.LINGER_S", 60)
    server = Server(configuration(models), open_model)
    await server.start()
    await server.load()
    async with client_of(server) as client:
        await client.translate("ein hund")
        stopping = asyncio.create_task(server.stop(60))
        await until(lambda: not server.engine.running)
        with pytest.raises(Unavailable, match=CLOSED):
            await client.translate("ein hund")
        assert not stopping.done()
        await server.stop(0)
        await asyncio.wait_for(stopping, 10)


async def test_grace_ends_and_a_second_stop_cuts_it_short(models, opened, open_model):
    server = Server(configuration(models), open_model)
    await server.start()
    await server.load()
    async with client_of(server) as client:
        opened[KEY].step_s = 0.2
        running = asyncio.create_task(client.translate(" ".join(["ein"] * 19), options=DecodingOptions(max_length=30)))
        await until(lambda: server.engine.load(KEY).running_requests == 1)
        began = time.monotonic()
        stopping = asyncio.create_task(server.stop(60))
        await asyncio.sleep(0.1)
        await server.stop(0)
        await asyncio.wait_for(stopping, 5)
        assert time.monotonic() - began < 3
        with pytest.raises(ServiceError):
            await running


async def test_only_the_bundles_of_the_services_asked_for_are_loaded(models, opened, open_model):
    async with (
        running_server(configuration(models, services=("captioning",)), open_model) as server,
        client_of(server) as client,
    ):
        assert list(opened) == ["captioning/1"]
        assert await health_of(server, "beamstep.v1.CaptioningService") == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_of(server, "beamstep.v1.TranslationService")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(ServiceError) as refused:
            await client.translate("ein hund")
        assert refused.value.status is grpc.StatusCode.UNIMPLEMENTED


async def test_many_calls_at_once_each_get_their_own_answer(models, opened, open_model):
    words = ["ein", "hund", "eine", "frau", "zwei", "kinder", "mann", "haus", "schnee"]
    texts = [" ".join(words[i : i + 1 + i % 4]) for i in range(len(words))] * 8
    async with running_server(configuration(models), open_model) as server, client_of(server) as client:
        opened[KEY].turn.clear()  # until all have come, however slowly
        calls = [client.translate(text, options=DecodingOptions(beam_size=1 + i % 5)) for i, text in enumerate(texts)]
        together = asyncio.gather(*calls, *(client.find_tour(SQUARE) for _ in range(8)))
        await until(
            lambda: sum(vars(server.engine.load(KEY)).values()) - server.engine.load(KEY).running_rows == len(texts)
        )
        opened[KEY].turn.set()
        answers = await together
        assert [answer.hypotheses[0].text for answer in answers[: len(texts)]] == texts
        assert server.engine.counters.steps < sum(len(text.split()) for text in texts), "steps were shared"


def test_a_start_that_cannot_be_stops_with_a_sentence(models, tmp_path):
    with pytest.raises(BadConfiguration, match="services: latin; allowed: some of translation, captioning, pointing"):
        configuration(models, services=("latin",))
    with pytest.raises(BadConfiguration, match="max_rows: 4; allowed: from 8"):
        Server(configuration(models, limits=Limits(batch_rows=4)))
    with pytest.raises(BadConfiguration, match="port: 70000; allowed"):
        ServerConfig(models, port=70000)
    write_bundle(tmp_path, "tour")
    with pytest.raises(BadConfiguration, match=r"services: captioning: .* has no captioning bundle; it has pointing"):
        Server(configuration(tmp_path, services=("captioning",)))
    write_bundle(tmp_path / "elsewhere", "tour")
    (tmp_path / "elsewhere/tour").rename(tmp_path / "again")
    with pytest.raises(BadBundle, match="both say they are tour/1"):
        Server(configuration(tmp_path))
    (tmp_path / "tour/1/encoder.onnx").write_bytes(b"altered")
    with pytest.raises(BadBundle, match=r"encoder\.onnx: its sha256 is"):
        Server(configuration(tmp_path))


async def test_a_port_in_use_stops_the_start(models, open_model):
    async with running_server(configuration(models), open_model) as server:
        second = Server(ServerConfig(models, host="127.0.0.1", port=server.port), open_model)
        with pytest.raises(BadConfiguration, match=f"port: cannot listen on 127.0.0.1:{server.port}"):
            await second.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_a_second_one_ends_at_once(models, number):
    script = textwrap.dedent(
        """
        import asyncio, logging, sys
        from pathlib import Path
        from serving.config import ServerConfig
        from serving.process import serve
        from tests.fakes.planned import open_planned

        def open_slow(bundle, session):
            model = open_planned(bundle, session)
            model.step_s = 0.5
            return model

        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        asyncio.run(serve(ServerConfig(Path(sys.argv[1]), host="127.0.0.1", port=0, grace_s=60), open_slow))
        """
    )
    process = subprocess.Popen([sys.executable, "-u", "-c", script, models], stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        port = next(int(found[1]) for line in lines if (found := re.match(r"serving on 127\.0\.0\.1:(\d+): ", line)))
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/beamstep.v1.TranslationService/TranslateText").future(
                b"\x0a\x27" + b"ein hund " * 4 + b"ein", timeout=30
            )
            time.sleep(0.4)
            process.send_signal(number)
            assert next(lines) == "stopping: running requests have 60 s to finish\n"
            process.send_signal(number)
            (cut,) = list(iter(lambda: next(lines), "stopped\n"))
            assert " code=UNAVAILABLE " in cut, "the call that was cut, in the log"
            assert process.wait(10) == 0
            assert call.code() is not grpc.StatusCode.OK
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_server_imports_neither_torch_nor_onnx():
    script = "import sys, serving.server, serving.command; print({'torch', 'onnx', 'training'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"
