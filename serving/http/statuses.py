"""What went wrong, as HTTP says it: google.rpc.Status in JSON, under the canonical HTTP status of its gRPC code."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import grpc
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

HTTP_STATUS: Final[Mapping[StatusCode, int]] = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: 500,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
    StatusCode.UNAUTHENTICATED: 401,
}
"""As google/rpc/code.proto has it."""
DETAILS: Final = "grpc-status-details-bin"


class Refused(Exception):  # noqa: N818 - named by what it is, STYLE.md section 4
    """A request that is answered with a status.

    Attributes:
        status: what to say.
        http: under which HTTP status; 0 takes the canonical one.
    """

    def __init__(self, code: StatusCode, message: str, field: str = "", http: int = 0) -> None:
        super().__init__(message)
        self.status = status_pb2.Status(code=code.value[0], message=message)
        self.http = http or HTTP_STATUS[code]
        if field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
            self.status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Return the status of a call that failed, with the details that came with it."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def as_json(status: status_pb2.Status) -> dict[str, Any]:
    """Return a status as a JSON object; `details` is always there, and holds what this process has the type of."""
    details = []
    for detail in status.details:
        try:
            details.append(json_format.MessageToDict(detail, preserving_proto_field_name=True))
        except TypeError:  # of a type that is not loaded
            continue
    return {"code": status.code, "message": status.message, "details": details}


def answer(status: status_pb2.Status, http: int = 0) -> web.Response:
    """Return the HTTP answer that a status makes."""
    code = next((each for each in StatusCode if each.value[0] == status.code), StatusCode.UNKNOWN)
    response = web.Response(
        body=json.dumps(as_json(status)).encode(), status=http or HTTP_STATUS[code], content_type="application/json"
    )
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry):
            response.headers["Retry-After"] = str(max(1, math.ceil(retry.retry_delay.ToNanoseconds() / 1e9)))
    if code is StatusCode.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
