"""The client against small servers that fail in known ways."""

import asyncio
import json
import time
from concurrent import futures

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from beamstep.channel import Endpoint, RetryPolicy
from beamstep.client import AsyncClient, Client
from beamstep.errors import (
    FieldViolation,
    Forbidden,
    InvalidRequest,
    Overloaded,
    ServiceError,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnknownModel,
)
from beamstep.v1 import model_pb2, model_pb2_grpc
from tests.fakes.tls import CERTIFICATE, KEY
from tests.unit.scripted import serving

QUICK = RetryPolicy(attempts=4, first_backoff_s=0.01, most_backoff_s=0.02)


class Scripted(model_pb2_grpc.ModelServiceServicer):
    """Fails with one status after the other, then answers."""

    def __init__(self, *failures: grpc.StatusCode) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.delay_s = 0.0

    def ListModels(self, request, context):
        self.calls += 1
        time.sleep(self.delay_s)
        if self.failures:
            context.abort(self.failures.pop(0), "as scripted")
        return model_pb2.ListModelsResponse()


def test_unavailable_is_tried_again_until_it_is_not():
    servicer = Scripted(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    with serving(servicer) as address, Client(address, retry=QUICK) as client:
        client.list_models()
    assert servicer.calls == 3


async def test_the_async_client_tries_again_too():
    servicer = Scripted(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    with serving(servicer) as address:
        async with AsyncClient(address, retry=QUICK) as client:
            await client.list_models()
    assert servicer.calls == 3


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_attempts_are_counted(attempts):
    servicer = Scripted(*[grpc.StatusCode.UNAVAILABLE] * 9)
    policy = RetryPolicy(attempts, first_backoff_s=0.01, most_backoff_s=0.02)
    with serving(servicer) as address, Client(address, retry=policy) as client, pytest.raises(Unavailable):
        client.list_models()
    assert servicer.calls == attempts


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.NOT_FOUND, UnknownModel),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.INTERNAL, ServiceError),
    ],
)
def test_other_failures_are_not_tried_again_and_have_their_own_kind(status, kind):
    servicer = Scripted(status)
    with serving(servicer) as address, Client(address, retry=QUICK) as client, pytest.raises(ServiceError) as caught:
        client.list_models()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.message, caught.value.violations) == (status, "as scripted", ())
    assert servicer.calls == 1


def test_a_server_that_starts_late_is_found_by_a_later_attempt():
    with serving(Scripted()) as address:
        pass  # now the port is free again
    patient = RetryPolicy(attempts=5, first_backoff_s=0.3, most_backoff_s=1.0)
    with futures.ThreadPoolExecutor(1) as pool, Client(address, retry=patient, timeout_s=20) as client:
        answer = pool.submit(client.list_models)
        time.sleep(0.1)
        server = grpc.server(futures.ThreadPoolExecutor(1))
        model_pb2_grpc.add_ModelServiceServicer_to_server(Scripted(), server)
        server.add_insecure_port(address)
        server.start()
        assert answer.result(20) == model_pb2.ListModelsResponse()
        server.stop(0).wait()


def test_nobody_there_is_unavailable():
    with serving(Scripted()) as address:
        pass
    with Client(address, retry=QUICK) as client, pytest.raises(Unavailable):
        client.list_models()


def test_a_call_takes_no_longer_than_its_timeout():
    servicer = Scripted()
    servicer.delay_s = 1.0
    began = time.monotonic()
    with serving(servicer) as address, Client(address, timeout_s=0.1) as client:
        with pytest.raises(TimedOut):
            client.list_models()
        assert time.monotonic() - began < 0.9


def test_field_violations_are_read_from_the_status():
    class Refusing(model_pb2_grpc.ModelServiceServicer):
        def ListModels(self, request, context):
            names = error_details_pb2.BadRequest.FieldViolation
            violations = [names(field="a.b", description="1; allowed: 2"), names(field="c", description="é")]
            details = [any_pb2.Any(), any_pb2.Any()]
            details[0].Pack(error_details_pb2.ErrorInfo(reason="another kind of detail"))
            details[1].Pack(error_details_pb2.BadRequest(field_violations=violations))
            status = status_pb2.Status(code=3, message="a.b: 1", details=details)
            context.abort_with_status(rpc_status.to_status(status))

    with serving(Refusing()) as address, Client(address) as client, pytest.raises(InvalidRequest) as caught:
        client.list_models()
    assert caught.value.violations == (FieldViolation("a.b", "1; allowed: 2"), FieldViolation("c", "é"))


@pytest.mark.parametrize("retry_after_s", [0.0, 0.25, 90.5])
def test_when_to_try_again_is_read_from_the_status(retry_after_s):
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(retry_after_s * 1e9))
    assert overloaded_with(error_details_pb2.RetryInfo(retry_delay=delay)).retry_after_s == retry_after_s


def test_when_to_try_again_is_unknown_where_the_status_does_not_say_it():
    assert overloaded_with().retry_after_s is None
    assert overloaded_with(error_details_pb2.RetryInfo()).retry_after_s is None
    assert overloaded_with(error_details_pb2.BadRequest()).retry_after_s is None


def overloaded_with(*details) -> Overloaded:
    """Return the error of a server that refuses with these details."""

    class Full(model_pb2_grpc.ModelServiceServicer):
        def ListModels(self, request, context):
            packed = [any_pb2.Any() for _ in details]
            for target, detail in zip(packed, details, strict=True):
                target.Pack(detail)
            context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=8, message="full", details=packed)))

    with serving(Full()) as address, Client(address) as client, pytest.raises(Overloaded) as caught:
        client.list_models()
    return caught.value


def test_tls_with_a_given_authority(tmp_path):
    roots = tmp_path / "roots.pem"
    roots.write_bytes(CERTIFICATE)
    credentials = grpc.ssl_server_credentials([(KEY, CERTIFICATE)])
    with serving(Scripted(), credentials) as address:
        with Client(address, secure=True, root_certificates=roots) as client:
            client.list_models()

        async def call_async() -> None:
            async with AsyncClient(address, secure=True, root_certificates=roots) as client:
                await client.list_models()

        asyncio.run(call_async())
        with Client(address, retry=RetryPolicy(attempts=1)) as client, pytest.raises(Unavailable):
            client.list_models()
        with Client(address, secure=True, retry=RetryPolicy(attempts=1)) as client, pytest.raises(Unavailable):
            client.list_models()  # an authority that gRPC's own list does not have


def test_the_retry_policy_is_grpcs_own():
    [config] = json.loads(RetryPolicy(attempts=3, first_backoff_s=0.25).service_config())["methodConfig"]
    assert config["retryPolicy"] == {
        "maxAttempts": 3,
        "initialBackoff": "0.250s",
        "maxBackoff": "5.000s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attempts": 0}, "attempts: 0; allowed: from 1 to 5"),
        ({"attempts": 6}, "attempts: 6; allowed: from 1 to 5"),
        ({"first_backoff_s": 9.0}, "first_backoff_s: 9.0; allowed: above 0, up to most_backoff_s"),
    ],
)
def test_a_retry_policy_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RetryPolicy(**settings)


def test_certificates_without_tls_are_refused(tmp_path):
    with pytest.raises(ValueError, match="root_certificates: given without secure"):
        Endpoint("localhost:1", root_certificates=tmp_path)


def test_an_answer_may_be_larger_than_grpcs_own_limit():
    class Wordy(model_pb2_grpc.ModelServiceServicer):
        def ListModels(self, request, context):
            return model_pb2.ListModelsResponse(models=[model_pb2.Model(description="x" * 5 * 2**20)])

    with serving(Wordy()) as address, Client(address) as client:
        assert len(client.list_models().models[0].description) == 5 * 2**20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"certificate": "c"}, "certificate and key: one given without the other"),
        ({"certificate": "c", "key": "k"}, "certificate: given without secure"),
        ({"token": "bst_a\n"}, "token: has other characters"),
        ({"token": "bst_secret"}, "token: would go to example.org:1 without TLS"),
    ],
)
def test_what_would_be_no_secret_any_more_is_refused(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        Endpoint("example.org:1", **settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:1",
        "127.0.0.1:1",
        "127.9.9.9:1",
        "[::1]:1",
        "ipv4:127.0.0.1:1",
        "ipv6:[::1]:1",
        "dns:///localhost:1",
        "dns:localhost:1",
        "unix:/tmp/socket",
    ],
)
def test_a_token_may_go_to_this_machine_in_the_clear(address):
    endpoint = Endpoint(address, token="bst_secret")
    assert endpoint.metadata == (("authorization", "Bearer bst_secret"),)
    assert "secret" not in repr(endpoint)


@pytest.mark.parametrize(
    "address",
    [
        "localhost.example.org:1",
        "10.0.0.1:1",
        "example.org:1",
        "dns://8.8.8.8/localhost:1",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
    ],
)
def test_and_to_no_other_unless_asked_for(address):
    with pytest.raises(ValueError, match="without TLS"):
        Endpoint(address, token="bst_secret")
    assert Endpoint(address, token="bst_secret", token_in_the_clear=True).metadata
    assert Endpoint(address, secure=True, token="bst_secret").metadata


def test_refusals_for_want_of_a_token_or_a_right_have_errors_of_their_own():
    refusing = Scripted(grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    with serving(refusing) as address, Client(address) as client:
        with pytest.raises(Unauthenticated, match="as scripted"):
            client.list_models()
        with pytest.raises(Forbidden, match="as scripted"):
            client.list_models()
