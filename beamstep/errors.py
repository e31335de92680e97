"""What a call can fail with, named by who must act; gRPC's own exception stays inside the client."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

DETAILS_KEY = "grpc-status-details-bin"
BAD_REQUEST_URL = "type.googleapis.com/google.rpc.BadRequest"
RETRY_INFO_URL = "type.googleapis.com/google.rpc.RetryInfo"


@dataclass(frozen=True)
class FieldViolation:
    """One field at fault: its path in the request, such as `options.beam_size`, and what was given and is allowed."""

    field: str
    description: str


class ServiceError(Exception):
    """A call failed.

    Attributes:
        status: the gRPC status code.
        message: what the server, or gRPC where no server answered, says of it.
        violations: the request's fields at fault; only for InvalidRequest, and there too it may be empty.
    """

    def __init__(self, status: grpc.StatusCode, message: str, violations: tuple[FieldViolation, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.violations = violations


class InvalidRequest(ServiceError):  # noqa: N818 - named by what it is, STYLE.md section 4
    """The request must change."""


class Unauthenticated(ServiceError):  # noqa: N818
    """The server asks for an API token; none came with the call, or none that is good."""


class Forbidden(ServiceError):  # noqa: N818
    """The token has no right to this call."""


class UnknownModel(ServiceError):  # noqa: N818
    """The server has no such model; or, of an address that answers for no such service, no such service."""


class Overloaded(ServiceError):  # noqa: N818
    """The server's queue is full: try later; or a message is larger than it takes.

    Attributes:
        retry_after_s: when the server expects to have room; None where it does not know, and for a message too large, which
            no later attempt would help.
    """

    def __init__(self, status: grpc.StatusCode, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(status, message)
        self.retry_after_s = retry_after_s


class Unavailable(ServiceError):  # noqa: N818
    """No server answers there, or it is starting or stopping; every attempt failed so."""


class TimedOut(ServiceError):  # noqa: N818
    """The call's timeout passed first."""


ERRORS: dict[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
    grpc.StatusCode.NOT_FOUND: UnknownModel,
    grpc.StatusCode.UNIMPLEMENTED: UnknownModel,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
}


def error_of(call: grpc.RpcError) -> ServiceError:
    """Return the error that a failed call stands for; blocking calls and async ones raise both kinds of RpcError."""
    status = call.code()
    kind = ERRORS.get(status, ServiceError)
    message = call.details() or status.name
    metadata: Iterable[Any] = call.trailing_metadata() or ()  # pairs, but for the types of grpc's stubs
    details = b"".join(value for key, value in metadata if key == DETAILS_KEY)
    if kind is Overloaded:
        return Overloaded(status, message, _retry_delay_s(details))
    return kind(status, message, tuple(_violations(details)))


def _violations(details: bytes) -> Iterator[FieldViolation]:
    for bad_request in _details(details, BAD_REQUEST_URL):
        for violation in _fields(bad_request, 1):
            yield FieldViolation(_text(violation, 1), _text(violation, 2))


def _retry_delay_s(details: bytes) -> float | None:
    for retry_info in _details(details, RETRY_INFO_URL):
        for delay in _fields(retry_info, 1):
            try:
                duration = Duration.FromString(delay)
            except DecodeError:
                return None
            return duration.seconds + duration.nanos / 1e9
    return None


def _details(details: bytes, url: str) -> Iterator[bytes]:
    """Read the details of one type from google.rpc.Status{details: [Any]} without the package that has its classes.

    The field numbers, here and in the callers, are those of google/rpc/status.proto, google/protobuf/any.proto and
    google/rpc/error_details.proto.
    """
    for detail in _fields(details, 3):
        if _text(detail, 1) == url:
            yield from _fields(detail, 2)


def _fields(message: bytes, number: int) -> list[bytes]:
    """Return the bytes of every length-delimited field `number`; none when the message cannot be read."""
    empty = Empty()
    try:
        empty.ParseFromString(message)
    except DecodeError:
        return []
    unknown: Any = UnknownFieldSet(empty)  # iterable, which typeshed does not know
    return [field.data for field in unknown if field.field_number == number and isinstance(field.data, bytes)]


def _text(message: bytes, number: int) -> str:
    return b"".join(_fields(message, number)[-1:]).decode(errors="replace")
