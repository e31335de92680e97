"""API tokens on a real socket: rights, limits, reflection, and what observers learn."""

import asyncio
import logging
import threading
import time

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from typer.testing import CliRunner

from beamstep.cli import app
from beamstep.client import AsyncClient, Client
from beamstep.errors import Forbidden, Overloaded, Unauthenticated
from beamstep.v1 import captioning_pb2, translation_pb2
from serving.access.config import AccessConfig
from serving.access.gate import REFUSAL
from serving.access.tokens import Token, TokenLimits, hash_of, write_tokens
from serving.config import ServerConfig
from serving.session import SessionConfig
from serving.tasks.images import ImageLimits
from tests.fakes.planned import open_planned
from tests.fakes.stubs import Stubs, picture, read_refusal, refusal
from tests.fakes.threads import ServerThread

WEB, OPS, SLOW, ONE = "bst_web", "bst_ops", "bst_slow", "bst_one"


@pytest.fixture(scope="module")
def opened():
    return {}


@pytest.fixture(scope="module")
def guarded(models, opened, tmp_path_factory):
    """A server that asks for tokens."""
    path = tmp_path_factory.mktemp("access") / "tokens.toml"
    write_tokens(
        path,
        [
            Token("web", hash_of(WEB), ("translation",)),
            Token("ops", hash_of(OPS), ("all",)),
            Token("slow", hash_of(SLOW), ("models",), TokenLimits(rate=0.001, burst=1)),
            Token("one", hash_of(ONE), ("translation",), TokenLimits(concurrent=1)),
        ],
    )

    def open_model(bundle, session):
        opened[bundle.key] = open_planned(bundle, session)
        return opened[bundle.key]

    session = SessionConfig(step_threads=1)
    config = ServerConfig(models, "127.0.0.1", 0, session=session, access=AccessConfig(tokens=path))
    with ServerThread(config, open_model) as thread:
        yield thread


class Notes:
    """Keeps the calls that ended."""

    def __init__(self):
        self.calls = []
        self.news = threading.Event()

    def began(self, call, context):
        """Wait for the end."""

    def ended(self, call, context):
        self.calls.append(call)
        self.news.set()


@pytest.fixture
def notes(guarded):
    notes = Notes()
    guarded.call(asyncio.sleep(0))  # observers are told of the test before once its answer is on its way
    guarded.server._observers.append(notes)
    yield notes
    guarded.server._observers.remove(notes)


def reflect(channel: grpc.Channel, metadata=()) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    (answer,) = stub.ServerReflectionInfo(iter(asked), metadata=metadata, timeout=30)
    return [service.name for service in answer.list_services_response.service]


def test_rights_decide(guarded):
    with Client(guarded.address, token=WEB) as client:
        assert client.translate("ein hund").hypotheses
        assert list(client.stream_translate("ein hund"))[-1].answer.hypotheses
        with pytest.raises(Forbidden, match=r"^the token web lacks the right to models$"):
            client.list_models()
        with pytest.raises(Forbidden, match="pointing"):
            client.find_tour([(0, 0), (1, 0), (0, 1)])
    with Client(guarded.address, token=OPS) as client:
        assert client.list_models().models
        assert client.find_tour([(0, 0), (1, 0), (0, 1)]).hypotheses


@pytest.mark.parametrize("token", [None, "bst_wrong"])
def test_without_a_good_token_every_service_gives_the_same_refusal(guarded, token):
    with Client(guarded.address, token=token) as client:
        for call in (
            client.list_models,
            lambda: client.translate("ein hund"),
            lambda: list(client.stream_translate("ein hund")),
            lambda: client.caption(b"no image"),
        ):
            with pytest.raises(Unauthenticated) as caught:
                call()
            assert caught.value.message == REFUSAL


async def test_the_async_client_sends_its_token_too(guarded):
    async with AsyncClient(guarded.address, token=WEB) as client:
        assert (await client.translate("ein hund")).hypotheses
        assert [message async for message in client.stream_translate("ein hund")][-1].answer.hypotheses


def test_reflection_and_unknown_methods_ask_for_a_right_and_health_does_not(guarded):
    with grpc.insecure_channel(guarded.address) as channel:
        for metadata, code in (((), StatusCode.UNAUTHENTICATED), (bearer(WEB), StatusCode.PERMISSION_DENIED)):
            with pytest.raises(grpc.RpcError) as caught:
                reflect(channel, metadata)
            assert read_refusal(caught.value).code is code
        assert "beamstep.v1.TranslationService" in reflect(channel, bearer(OPS))
        unknown = channel.unary_unary("/beamstep.v1.Nothing/Do")
        for metadata, code in (((), StatusCode.UNAUTHENTICATED), (bearer(OPS), StatusCode.UNIMPLEMENTED)):
            with pytest.raises(grpc.RpcError) as caught:
                unknown(b"", metadata=metadata, timeout=30)
            assert caught.value.code() is code
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def bearer(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


def test_a_refused_call_is_refused_before_its_message_is_read(guarded):
    with grpc.insecure_channel(guarded.address) as channel:
        garbage = channel.unary_unary("/beamstep.v1.TranslationService/TranslateText")
        with pytest.raises(grpc.RpcError) as caught:
            garbage(b"\xff" * 1000, timeout=30)
        assert caught.value.code() is StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as caught:
            garbage(b"\xff" * 1000, metadata=bearer(WEB), timeout=30)
        assert caught.value.code() is StatusCode.INVALID_ARGUMENT
        big = captioning_pb2.CaptionImageRequest(
            image=bytes(40 * 2**20)
        )  # beyond the limit of a message, which is not reached
        with pytest.raises(grpc.RpcError) as caught:
            Stubs(channel).captioning.CaptionImage(big, timeout=30)
        assert caught.value.code() is StatusCode.UNAUTHENTICATED


def test_more_calls_than_the_rate_are_told_when_to_come_again(guarded):
    with Client(guarded.address, token=SLOW) as client:
        client.list_models()
        with pytest.raises(Overloaded, match=r"the token slow may make 0\.001 calls a second, 1 at once") as caught:
            client.list_models()
        assert caught.value.retry_after_s == pytest.approx(1000, rel=0.2)


def test_more_calls_at_a_time_than_allowed_are_refused_until_one_ends(guarded, opened):
    held = opened["translation/2"]
    counters = guarded.server.engine.counters
    held.turn.clear()
    try:
        with grpc.insecure_channel(guarded.address) as channel, Client(guarded.address, token=ONE) as client:
            submitted = counters.submitted
            stream = Stubs(channel).translation.StreamTranslateText(
                translation_pb2.StreamTranslateTextRequest(text="ein hund"), metadata=bearer(ONE), timeout=60
            )
            until = time.monotonic() + 30
            while counters.submitted == submitted:
                assert time.monotonic() < until
                time.sleep(0.01)
            with pytest.raises(Overloaded, match="the token one may make 1 calls at a time") as caught:
                client.translate("ein hund")
            assert caught.value.retry_after_s
            held.turn.set()
            assert list(stream)[-1].answer.hypotheses
            client.translate("ein hund")
    finally:
        held.turn.set()


def test_observers_learn_whose_call_it_was_and_never_the_token(guarded, notes):
    with Client(guarded.address, token=WEB) as client:
        client.translate("ein hund")
        with pytest.raises(Forbidden):
            client.list_models()
    with Client(guarded.address, token="bst_wrong") as client, pytest.raises(Unauthenticated):
        client.list_models()
    while len(notes.calls) < 3:
        assert notes.news.wait(30)
        notes.news.clear()
    assert [(call.principal, call.code) for call in notes.calls] == [
        ("web", StatusCode.OK),
        ("web", StatusCode.PERMISSION_DENIED),
        ("", StatusCode.UNAUTHENTICATED),
    ]
    assert "bst_" not in str(notes.calls)


@pytest.mark.parametrize(("host", "warns"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_an_open_port_for_everybody_is_said_once(models, host, warns, caplog):
    caplog.set_level(logging.WARNING)
    config = ServerConfig(models, host, 0, ("translation",), session=SessionConfig(step_threads=1))
    with ServerThread(config, open_planned):
        pass
    assert caplog.text.count("neither TLS nor tokens are on") == warns


def test_the_command_sends_a_token_and_keeps_it_from_strangers(guarded):
    here = ["models", "--json", "--address", guarded.address]
    assert "translation" in CliRunner().invoke(app, [*here, "--token", OPS]).stdout
    assert "translation" in CliRunner().invoke(app, here, env={"BEAMSTEP_TOKEN": OPS}).stdout
    refused = CliRunner().invoke(app, here, env={"BEAMSTEP_TOKEN": ""})
    assert (refused.exit_code, refused.stderr.strip()) == (1, f"error: {REFUSAL}")
    elsewhere = ["models", "--address", "example.org:1", "--token", OPS]
    kept = CliRunner().invoke(app, elsewhere)
    assert kept.exit_code == 2
    assert "--token: the token would go to example.org:1 without TLS" in kept.stderr
    assert OPS not in kept.stderr
    half = CliRunner().invoke(app, [*here, "--tls-key", "key.pem"])
    assert half.exit_code == 2
    assert "--tls-cert and --tls-key: one given without the other" in half.stderr
    assert OPS not in CliRunner().invoke(app, ["models", "--help"], env={"BEAMSTEP_TOKEN": OPS}).stdout


def test_a_request_larger_than_the_operators_image_limit_is_refused_by_name(models):
    session = SessionConfig(step_threads=1)
    config = ServerConfig(models, "127.0.0.1", 0, ("captioning",), session=session, images=ImageLimits(1000, 1000))
    with ServerThread(config, open_planned) as thread, grpc.insecure_channel(thread.address) as channel:
        stubs = Stubs(channel)
        for image, message in (
            (bytes(1001), "image: 1,001 bytes; allowed: up to 1,000 bytes"),
            (picture(), "image: 40 x 30 pixels; allowed: up to 1,000 pixels"),
        ):
            refused = refusal(stubs.captioning.CaptionImage, captioning_pb2.CaptionImageRequest(image=image))
            assert (refused.code, refused.message) == (StatusCode.INVALID_ARGUMENT, message)
