"""The gate in the chain: a call without its right ends before its message is read."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from serving.access.gate import Gate, Verdict
from serving.calls.call import note_principal
from serving.errors import BeamstepError
from serving.servicers.status import abort

Context = grpc.aio.ServicerContext[Any, Any]


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Asks the gate about every call; stands between the one that follows calls and the one that answers for errors."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Decide by the metadata, which come before the message."""
        given = dict(handler_call_details.invocation_metadata or ()).get("authorization")
        verdict = self._gate.judge(handler_call_details.method, given if isinstance(given, str) else None)
        if verdict.error is not None:
            # Whatever the method is, a handler of streamed requests is called before any message is read.
            return grpc.stream_unary_rpc_method_handler(_refusing(verdict, verdict.error))
        handler = await continuation(handler_call_details)
        if handler is None or not verdict.principal:
            return handler
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                _answering(verdict, handler.unary_unary, handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        if inspect.isasyncgenfunction(handler.unary_stream):
            return grpc.unary_stream_rpc_method_handler(
                _streaming(verdict, handler.unary_stream, handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        if inspect.isasyncgenfunction(handler.stream_stream):
            return grpc.stream_stream_rpc_method_handler(
                _streaming(verdict, handler.stream_stream, None),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return handler


def _refusing(verdict: Verdict, error: BeamstepError) -> Any:
    async def refuse(_: Any, context: Context) -> None:
        note_principal(verdict.principal)
        await abort(context, error)

    return refuse


def _answering(verdict: Verdict, handler: Any, read: Callable[[bytes], Any] | None) -> Any:
    """Answer one call; its message is parsed here, once the token has room for it."""

    async def answer(request: Any, context: Context) -> Any:
        note_principal(verdict.principal)
        try:
            with verdict.running():
                return await handler(request if read is None else read(request), context)
        except BeamstepError as error:
            return await abort(context, error)

    return answer


def _streaming(verdict: Verdict, handler: Any, read: Callable[[bytes], Any] | None) -> Any:
    async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
        note_principal(verdict.principal)
        try:
            with verdict.running():
                async with aclosing(handler(request if read is None else read(request), context)) as messages:
                    async for message in messages:
                        yield message
        except BeamstepError as error:
            await abort(context, error)

    return answer
