"""TLS on a real socket: certificates are renewed under a running server, and clients without one are turned away."""

import http.client
import logging
import shutil

import grpc
import pytest

from beamstep.client import Client, RetryPolicy
from beamstep.errors import Unavailable
from serving.access.config import AccessConfig
from serving.config import ServerConfig
from serving.health_check import main as health_check
from serving.http.config import HttpConfig
from serving.session import SessionConfig
from tests.fakes.authority import Authority
from tests.fakes.planned import open_planned
from tests.fakes.threads import ServerThread

ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


def serving(models, port: HttpConfig | None = None, **access) -> ServerThread:
    config = ServerConfig(
        models,
        "127.0.0.1",
        0,
        ("translation",),
        session=SessionConfig(step_threads=1),
        access=AccessConfig(**access),
        http=port or HttpConfig(),
    )
    return ServerThread(config, open_planned)


def local(thread: ServerThread) -> str:
    return thread.address.replace("127.0.0.1", "localhost")


def test_certificates_are_renewed_while_the_server_runs(models, authority, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first, second = authority.sign("first"), Authority(tmp_path, "another").sign("second")
    live = tmp_path / "live.pem", tmp_path / "live.key"
    roots, later_roots = authority.certificate, tmp_path / "another.pem"
    for source, target in zip(first, live, strict=True):
        shutil.copy(source, target)
    with serving(models, tls_cert=live[0], tls_key=live[1]) as thread:
        running = Client(local(thread), secure=True, root_certificates=roots, retry=ONCE)
        running.list_models()
        live[1].write_text("no key any more")
        with Client(local(thread), secure=True, root_certificates=roots, retry=ONCE) as client:
            assert client.translate("ein hund").hypotheses
        assert "the ones before go on: tls_key: " in caplog.text
        for source, target in zip(second, live, strict=True):
            shutil.copy(source, target)
        with Client(local(thread), secure=True, root_certificates=later_roots, retry=ONCE) as client:
            client.list_models()
        with (
            Client(local(thread), secure=True, root_certificates=roots, retry=ONCE, timeout_s=20) as client,
            pytest.raises(Unavailable),
        ):
            client.list_models()
        running.list_models()  # its connection is none of this
        running.close()


def test_a_client_without_a_certificate_is_turned_away(models, authority, tmp_path):
    server, client_pair = authority.sign("server"), authority.sign("client", extension="extendedKeyUsage=clientAuth")
    stranger = Authority(tmp_path, "stranger").sign("intruder", extension="extendedKeyUsage=clientAuth")
    roots = authority.certificate
    with serving(models, tls_cert=server.certificate, tls_key=server.key, tls_client_ca=roots) as thread:
        known = {"certificate": client_pair.certificate, "key": client_pair.key}
        with Client(local(thread), secure=True, root_certificates=roots, **known) as client:
            client.list_models()
        for shown in ({}, {"certificate": stranger.certificate, "key": stranger.key}):
            with (
                Client(
                    local(thread), secure=True, root_certificates=roots, retry=ONCE, timeout_s=20, **shown
                ) as client,
                pytest.raises(Unavailable),
            ):
                client.list_models()
        with Client(thread.address, retry=ONCE, timeout_s=20) as client, pytest.raises(Unavailable):
            client.list_models()  # in plain text

        trusting = ["--root-certificates", str(roots)]
        shown = ["--tls-cert", str(client_pair.certificate), "--tls-key", str(client_pair.key)]
        assert health_check([local(thread), *trusting, *shown]) == 0
        assert health_check([local(thread), *trusting]) == 1
        assert health_check([thread.address, *trusting, *shown]) == 1  # the certificate is not for 127.0.0.1
        assert health_check([thread.address, *trusting, *shown, "--server-name", "localhost"]) == 0
        assert health_check([local(thread)]) == 1


def test_who_is_known_by_a_certificate_alone_is_not_known_over_http(models, authority):
    server = authority.sign("server")
    files = {"tls_cert": server.certificate, "tls_key": server.key}
    for mutual, status in (({}, 200), ({"tls_client_ca": authority.certificate}, 404)):
        with serving(models, HttpConfig(0), **files, **mutual) as thread:
            host = f"127.0.0.1:{thread.server.http.port}"
            connection = http.client.HTTPConnection(host, timeout=20)
            connection.request("POST", "/v1/translate", '{"text": "ein hund"}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read().decode()
            assert answer.status == status, said
            assert ("over gRPC alone" in said) == (status == 404)
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == 200
            connection.close()


def test_an_unreadable_file_is_a_matter_of_the_command_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        health_check(["localhost:1", "--root-certificates", str(tmp_path / "none.pem")])
    assert caught.value.code == 2
    assert "none.pem: No such file" in capsys.readouterr().err


def test_a_handshake_is_refused_by_who_does_not_trust_the_server(models, authority):
    pair = authority.sign("server")
    with (
        serving(models, tls_cert=pair.certificate, tls_key=pair.key) as thread,
        grpc.secure_channel(local(thread), grpc.ssl_channel_credentials()) as channel,
        pytest.raises(grpc.FutureTimeoutError),
    ):
        grpc.channel_ready_future(channel).result(timeout=2)
