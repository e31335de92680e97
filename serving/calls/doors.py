"""The door of a server that stops: calls that are inside go on, new ones are told at once to go elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import grpc

from serving.calls.handlers import kept, wrapped
from serving.calls.interceptor import NOT_OURS, Context
from serving.errors import Draining

CLOSED: Final = "the server is shutting down; retry elsewhere"


class Doors(grpc.aio.ServerInterceptor):
    """Counts the calls inside, and once it is closed refuses every new one with Draining; health and reflection go on."""

    def __init__(self) -> None:
        self._inside = 0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._wrapped = kept(lambda _, handler: wrapped(handler, self._answering, self._streaming))

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True

    async def empty(self) -> None:
        """Wait until nobody is inside."""
        await self._empty.wait()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        return handler if handler is None or method.startswith(NOT_OURS) else self._wrapped(method, handler)

    def _answering(self, handler: Callable[[Any, Context], Awaitable[Any]]) -> Any:
        async def answer(request: Any, context: Context) -> Any:
            if self._closed:
                raise Draining(CLOSED)
            with self._counted():
                return await handler(request, context)

        return answer

    def _streaming(self, handler: Any) -> Any:
        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            if self._closed:
                raise Draining(CLOSED)
            with self._counted():
                async with aclosing(handler(request, context)) as messages:
                    async for message in messages:
                        yield message

        return answer

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()
