"""What a full queue has no room for, refused at the least cost: before the servicers, and all interceptors, have seen it.

A call that is refused the ordinary way goes through every interceptor, raises an error in the servicer and has it turned into a
status on the way back. At ten times the load nine of ten calls are refused, and what they cost is taken from the others.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode
from grpc_status import rpc_status

from beamstep.v1 import captioning_pb2, pointing_pb2, translation_pb2
from serving.calls.interceptor import CallInterceptor, Context, call_of
from serving.calls.methods import Methods
from serving.errors import Overloaded
from serving.servicers.backend import Backend
from serving.servicers.status import status_of
from serving.tasks.base import Task
from serving.tasks.captioning import Captioning
from serving.tasks.pointing import ConvexHull, Delaunay, Tour
from serving.tasks.translation import Translation

Continue = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]
TRANSLATION: Final = translation_pb2.DESCRIPTOR.services_by_name["TranslationService"]
CAPTIONING: Final = captioning_pb2.DESCRIPTOR.services_by_name["CaptioningService"]
POINTING: Final = pointing_pb2.DESCRIPTOR.services_by_name["PointingService"].full_name
KINDS: Final[Mapping[str, type[Task]]] = {
    **{f"/{TRANSLATION.full_name}/{method.name}": Translation for method in TRANSLATION.methods},
    **{f"/{CAPTIONING.full_name}/{method.name}": Captioning for method in CAPTIONING.methods},
    f"/{POINTING}/FindConvexHull": ConvexHull,
    f"/{POINTING}/FindDelaunayTriangulation": Delaunay,
    f"/{POINTING}/FindTour": Tour,
}
"""The methods that are looked at here, and what they need; the others are refused in the ordinary way."""


class Refusals(grpc.aio.ServerInterceptor):
    """Stands in front of all others, and lets everything through as long as no queue is full."""

    def __init__(self, backend: Backend, calls: CallInterceptor, methods: Methods) -> None:
        """Look at calls from now on.

        Args:
            backend: knows which queues are full, and for whom.
            calls: tells the observers, of refused calls too.
            methods: those of the server.
        """
        self._backend = backend
        self._calls = calls
        self._methods = methods

    async def intercept_service(self, continuation: Continue, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Look at one call, once its message is there, if a queue is full; make nothing of it otherwise."""
        kind = KINDS.get(handler_call_details.method)
        handler = self._methods.get(handler_call_details.method)
        if kind is None or handler is None or not self._backend.full:
            return await continuation(handler_call_details)
        look = _Look(self, kind, handler.request_deserializer, continuation, handler_call_details)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(look.answer, response_serializer=handler.response_serializer)
        return grpc.unary_stream_rpc_method_handler(look.stream, response_serializer=handler.response_serializer)

    def refuse(self, kind: type[Task], method: str, request: Any, context: Context) -> bool:
        """Refuse a call whose queue has no room for it; say whether it was so."""
        call = call_of(method, request, context)
        error = self._backend.refusal(kind, request, call)
        if error is None:
            return False
        details, metadata = _told(str(error), _rounded(error.retry_after_s))
        # Not by `abort`, which raises: a status that is set costs less.
        context.set_code(StatusCode.RESOURCE_EXHAUSTED)
        context.set_details(details)
        context.set_trailing_metadata(metadata)
        call.code, call.details = StatusCode.RESOURCE_EXHAUSTED, details
        self._calls.begin(call, context)
        self._calls.end(call, context)
        return True


class _Look:
    """One call that comes while a queue is full."""

    def __init__(
        self,
        refusals: Refusals,
        kind: type[Task],
        read: Callable[[bytes], Any],
        continuation: Continue,
        details: grpc.HandlerCallDetails,
    ) -> None:
        self._refusals = refusals
        self._kind = kind
        self._read = read
        self._continuation = continuation
        self._details = details

    async def answer(self, data: bytes, context: Context) -> Any:
        """Answer a call, or refuse it, with a status and no message."""
        if self._refuse(data, context):
            return None
        handler = await self._continuation(self._details)
        return await handler.unary_unary(handler.request_deserializer(data), context)

    async def stream(self, data: bytes, context: Context) -> AsyncIterator[Any]:
        """Answer a call with a stream, or refuse it, with a status and no message."""
        if self._refuse(data, context):
            return
        handler = await self._continuation(self._details)
        async with aclosing(handler.unary_stream(handler.request_deserializer(data), context)) as messages:
            async for message in messages:
                yield message

    def _refuse(self, data: bytes, context: Context) -> bool:
        try:
            request = self._read(data)
        except DecodeError:
            return False  # the ordinary way says what is wrong with it
        return self._refusals.refuse(self._kind, self._details.method, request, context)


def _rounded(retry_s: float | None) -> float | None:
    """Return a time of which there are few, so that what is told can be told again."""
    return None if retry_s is None else max(0.01, round(retry_s, 1 if retry_s > 1 else 2))


@lru_cache(maxsize=256)
def _told(message: str, retry_s: float | None) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    """Return the details and the metadata of a refusal; the same as `abort` gives an Overloaded."""
    status = rpc_status.to_status(status_of(Overloaded(message, retry_s)))
    return status.details, tuple(status.trailing_metadata or ())
