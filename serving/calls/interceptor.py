"""The outermost interceptor: makes a `Call` of every call, asks the gates, and tells the observers how it ended."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import grpc
from grpc import StatusCode

from serving.calls.call import CURRENT, LONGEST_ID, REQUEST_ID, SECRETS, Call
from serving.calls.handlers import kept, wrapped

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
NOT_OURS = ("/grpc.health.", "/grpc.reflection.")
"""Infrastructure's own calls; they are no work."""


class Observer(Protocol):
    """Is told of every call; must return at once and not raise."""

    def began(self, call: Call, context: Context) -> None:
        """Note that a call has come; it may add to the context's metadata."""

    def ended(self, call: Call, context: Context) -> None:
        """Note how a call ended, when its answer is on its way: nobody waits for that."""


LastWord = Callable[[Call, Context], None]
"""Is told of a call that is over, before its answer is sent: it may add to the trailing metadata."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Follows every call, unary or streaming, from its first to its last moment."""

    def __init__(self, observers: Sequence[Observer] = (), last_word: LastWord | None = None) -> None:
        """Follow calls from now on.

        Args:
            observers: told of each; more may be added to the list.
            last_word: told before its answer is sent.
        """
        self._observers = observers
        self._last_word = last_word
        self._wrapped = kept(self._wrap)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(NOT_OURS):
            return handler
        return self._wrapped(method, handler)

    def _wrap(self, method: str, handler: Any) -> Any:
        if handler.stream_unary is not None:  # a call that is refused before its message is read
            return grpc.stream_unary_rpc_method_handler(self._answering(method, handler.stream_unary))
        return wrapped(handler, partial(self._answering, method), partial(self._streaming, method))

    def _answering(self, method: str, handler: Callable[[Any, Context], Awaitable[Any]]) -> Any:
        async def answer(request: Any, context: Context) -> Any:
            with self._followed(method, request, context):
                return await handler(request, context)

        return answer

    def _streaming(self, method: str, handler: Any) -> Any:
        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            with self._followed(method, request, context):
                async with aclosing(handler(request, context)) as messages:
                    async for message in messages:
                        yield message

        return answer

    @contextmanager
    def _followed(self, method: str, request: Any, context: Context) -> Iterator[None]:
        """Make the current call, and see it to its end, whatever that is."""
        call = call_of(method, request, context)
        token = CURRENT.set(call)
        self.begin(call, context)
        try:
            yield
        except grpc.aio.AbortError:
            call.code = _code(context)
            call.details = str(context.details() or "")
            raise
        except (asyncio.CancelledError, GeneratorExit):
            left = context.time_remaining()
            call.code = StatusCode.DEADLINE_EXCEEDED if left is not None and left <= 0 else StatusCode.CANCELLED
            raise
        except BaseException:
            call.code = StatusCode.INTERNAL
            raise
        finally:
            self.end(call, context)
            with suppress(ValueError):  # a stream given up between two messages is closed in a context of its own
                CURRENT.reset(token)

    def begin(self, call: Call, context: Context) -> None:
        """Tell the observers of a call that has come."""
        for observer in self._observers:
            _tell(observer.began, call, context)

    def end(self, call: Call, context: Context) -> None:
        """Note that a call is over; observers are told of an answered one in the next round, when its answer is on its way."""
        call.ended = time.monotonic()
        if self._last_word is not None:
            _tell(self._last_word, call, context)
        if call.code is StatusCode.OK:
            asyncio.get_running_loop().call_soon(self._ended, call, context)
        else:
            self._ended(call, context)

    def _ended(self, call: Call, context: Context) -> None:
        for observer in self._observers:
            _tell(observer.ended, call, context)


def _tell(told: LastWord, call: Call, context: Context) -> None:
    """Tell one of them; if it fails it must not fail the call."""
    try:
        told(call, context)
    except Exception:
        logger.exception("an observer failed")


def call_of(method: str, request: Any, context: Context) -> Call:
    """Make a `Call` of one that has come."""
    given = context.invocation_metadata() or ()
    metadata = {key: value for key, value in given if isinstance(value, str) and key not in SECRETS}
    call = Call(method, metadata, context.peer(), request=request)
    request_id = metadata.get(REQUEST_ID, "")
    if 0 < len(request_id) <= LONGEST_ID and request_id.isprintable():
        call.request_id = request_id
    return call


def _code(context: Context) -> StatusCode:
    """Return the status that a call was aborted with; gRPC keeps the number alone."""
    code = context.code()
    return next((each for each in StatusCode if code in (each, each.value[0])), StatusCode.UNKNOWN)
