"""Every error has one status, and what is a fault in here tells nothing of itself."""

import asyncio
import inspect
import pickle
from types import SimpleNamespace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from beamstep.v1 import pointing_pb2, translation_pb2
from serving import errors
from serving.servicers.status import INTERNAL_MESSAGE, MODEL_FAULT_MESSAGE, STATUS, StatusInterceptor, status_of
from serving.servicers.wire import find_fault

OPERATORS = {errors.BadBundle, errors.BadConfiguration, errors.ModelFault, errors.ImageFault}
"""Whatever only the operator can mend, and the caller can do nothing about."""


def test_every_error_of_a_caller_or_of_load_has_a_status():
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass)} - OPERATORS - {errors.BeamstepError}
    assert kinds == set(STATUS)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UnknownModel("no such"), StatusCode.NOT_FOUND),
        (errors.Overloaded("no such"), StatusCode.RESOURCE_EXHAUSTED),
        (errors.Draining("no such"), StatusCode.UNAVAILABLE),
        (errors.Expired("no such"), StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_the_message_is_the_errors_own(error, code):
    status = status_of(error)
    assert (status.code, status.message, len(status.details)) == (code.value[0], "no such", 0)


def test_an_invalid_request_carries_its_field():
    status = status_of(errors.InvalidRequest("options.beam_size", "0", "from 1 to 8"))
    assert status.code == StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == "options.beam_size: 0; allowed: from 1 to 8"
    detail = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(detail)
    [violation] = detail.field_violations
    assert (violation.field, violation.description) == ("options.beam_size", "0; allowed: from 1 to 8")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("secret"), INTERNAL_MESSAGE),
        (errors.ModelFault("secret"), MODEL_FAULT_MESSAGE),
        (errors.ImageFault("secret"), INTERNAL_MESSAGE),
        (errors.BadBundle("secret"), INTERNAL_MESSAGE),
    ],
)
def test_a_fault_in_here_is_internal_without_a_word_of_the_inside(error, message):
    status = status_of(error)
    assert (status.code, status.message) == (StatusCode.INTERNAL.value[0], message)


def test_errors_cross_into_another_process():
    error = pickle.loads(pickle.dumps(errors.InvalidRequest("image", "empty", "the bytes of a file")))
    assert (error.field, error.given, error.allowed) == ("image", "empty", "the bytes of a file")
    assert str(error) == "image: empty; allowed: the bytes of a file"
    late = pickle.loads(pickle.dumps(errors.Overloaded("later", 0.5)))
    assert (str(late), late.retry_after_s) == ("later", 0.5)


def test_a_bad_string_deep_in_a_message_is_named_by_its_path():
    # FindTourRequest: two points, then model = "\xff".
    data = b"\x0a\x00\x0a\x00\x12\x01\xff"
    assert find_fault(pointing_pb2.FindTourRequest.DESCRIPTOR, data).field == "model"
    # TranslateTextResponse: the second hypothesis' third token has a piece that is not UTF-8.
    token = b"\x1a\x03\x12\x01\xff"
    decoding = b"\x1a\x00\x1a\x00" + token
    hypothesis = b"\x12" + bytes([len(decoding)]) + decoding
    data = b"\x0a\x00\x0a" + bytes([len(hypothesis)]) + hypothesis
    field = find_fault(translation_pb2.TranslateTextResponse.DESCRIPTOR, data).field
    assert field == "hypotheses[1].decoding.tokens[2].piece"


def test_bytes_and_numbers_are_no_text():
    fault = find_fault(pointing_pb2.FindTourRequest.DESCRIPTOR, b"\x0a\x04\x09\xff\xff\xff")
    assert fault.field == "request"


class EndedCall:
    """The context of a call that is over before its status is sent."""

    async def abort(self, *_) -> None:
        raise grpc.aio.InternalError


async def test_a_call_that_ends_before_its_status_is_sent_counts_as_cancelled():
    async def handler(request, context):
        raise errors.Expired("the deadline passed")

    details = SimpleNamespace(method="/beamstep.v1.TranslationService/TranslateText")
    method = grpc.unary_unary_rpc_method_handler(handler)

    async def continuation(_):
        return method

    answering = await StatusInterceptor().intercept_service(continuation, details)
    with pytest.raises(asyncio.CancelledError):
        await answering.unary_unary(None, EndedCall())
