"""Errors to gRPC statuses: the one mapping, and the interceptor that applies it to every call."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final, Never

import grpc
from google.protobuf import any_pb2, descriptor_pool
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc_status import rpc_status

from serving.calls.call import CURRENT
from serving.calls.handlers import kept, wrapped
from serving.errors import (
    BeamstepError,
    Draining,
    Expired,
    Forbidden,
    InvalidRequest,
    ModelFault,
    Overloaded,
    Refused,
    Unauthenticated,
    UnknownModel,
)
from serving.observation.trailer import trailer
from serving.servicers.wire import find_fault

logger = logging.getLogger(__name__)

STATUS: Final[Mapping[type[BeamstepError], StatusCode]] = {
    InvalidRequest: StatusCode.INVALID_ARGUMENT,  # the caller must change the request
    Unauthenticated: StatusCode.UNAUTHENTICATED,  # the caller must show a token
    Forbidden: StatusCode.PERMISSION_DENIED,  # the caller's token must be allowed it
    UnknownModel: StatusCode.NOT_FOUND,  # the caller must name another model
    Refused: StatusCode.FAILED_PRECONDITION,  # the administrator must change something else first
    Overloaded: StatusCode.RESOURCE_EXHAUSTED,  # the queue is full: refused at once, retry later
    Draining: StatusCode.UNAVAILABLE,  # loading or shutting down: retry elsewhere
    Expired: StatusCode.DEADLINE_EXCEEDED,  # the caller's own deadline passed while waiting or decoding
}
INTERNAL_MESSAGE: Final = "internal error; the server's log says more"
MODEL_FAULT_MESSAGE: Final = "the model failed at this request, or at another of its batch; the server's log says more"

Handler = Callable[[Any, Any], Awaitable[Any]]


def status_of(error: Exception) -> status_pb2.Status:
    """Return the google.rpc.Status of an error; one that is not in the mapping is a fault in here and tells nothing of itself."""
    code = _code_of(error)
    if code is None:
        message = MODEL_FAULT_MESSAGE if isinstance(error, ModelFault) else INTERNAL_MESSAGE
        return status_pb2.Status(code=StatusCode.INTERNAL.value[0], message=message)
    status = status_pb2.Status(code=code.value[0], message=str(error))
    if isinstance(error, InvalidRequest):
        description = f"{error.given}; allowed: {error.allowed}"
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=description)
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        status.details.append(detail)
    if isinstance(error, Overloaded) and error.retry_after_s is not None:
        detail = any_pb2.Any()
        retry_delay = Duration()
        retry_delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        detail.Pack(error_details_pb2.RetryInfo(retry_delay=retry_delay))
        status.details.append(detail)
    return status


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Answers every call that fails, unary or streaming, with the status of its error, a message that cannot be read included."""

    def __init__(self) -> None:
        self._wrapped = kept(self._wrap)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        return handler if handler is None else self._wrapped(handler_call_details.method, handler)

    @staticmethod
    def _wrap(method: str, handler: Any) -> Any:
        read = _reading(method, handler.request_deserializer)
        return wrapped(handler, partial(_answering, method), partial(_streaming, method), read)


def _code_of(error: Exception) -> StatusCode | None:
    return next((code for kind, code in STATUS.items() if isinstance(error, kind)), None)


def _answering(method: str, handler: Handler) -> Handler:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if isinstance(request, InvalidRequest):
            return await abort(context, request)
        try:
            return await handler(request, context)
        except grpc.aio.AbortError:
            raise  # a handler that chose its status itself, such as the health service's
        except Exception as error:
            if _code_of(error) is None:
                logger.exception("%s failed", method)
            return await abort(context, error)

    return answer


def _streaming(method: str, handler: Callable[[Any, Any], AsyncGenerator[Any, None]]) -> Any:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        if isinstance(request, InvalidRequest):
            await abort(context, request)
        try:
            async with aclosing(handler(request, context)) as messages:
                async for message in messages:
                    yield message
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            if _code_of(error) is None:
                logger.exception("%s failed", method)
            await abort(context, error)

    return answer


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> Never:
    """End a call with the status of an error."""
    status = rpc_status.to_status(status_of(error))
    call = CURRENT.get()
    told = () if call is None else (*(context.trailing_metadata() or ()), *trailer(call))
    trailing = (*(status.trailing_metadata or ()), *told)
    try:
        await context.abort(status.code, status.details, trailing)
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None  # the call ended meanwhile, by its deadline for example: nobody reads a status


def _reading(method: str, read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Make a deserializer return the error instead of raising it, since gRPC would answer INTERNAL without a word."""

    def deserialize(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            name = method.removeprefix("/").replace("/", ".")
            return find_fault(descriptor_pool.Default().FindMethodByName(name).input_type, data)

    return deserialize
