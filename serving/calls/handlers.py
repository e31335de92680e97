"""Handlers with something around them, whatever their kind: what every interceptor of ours does."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import grpc

MOST_KEPT: Final = 64
"""Handlers that an interceptor has around it at once: more than there are methods, but some are made for one call alone."""


def kept(wrap: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Return a function of method and handler that wraps the same handler once: every call asks for its handler anew."""
    return lru_cache(MOST_KEPT)(wrap)


def wrapped(handler: Any, answering: Callable[[Any], Any], streaming: Callable[[Any], Any], read: Any = None) -> Any:
    """Return a handler like `handler` whose function is another one around its own.

    A stream that is no generator stays as it is: the health service's Watch writes by itself.

    Args:
        handler: of one method.
        answering: from a coroutine function of request and context to one around it.
        streaming: the same of an asynchronous generator function.
        read: the deserializer of requests; None keeps the handler's own.
    """
    readers = {
        "request_deserializer": read or handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if inspect.isasyncgenfunction(handler.unary_stream):
        return grpc.unary_stream_rpc_method_handler(streaming(handler.unary_stream), **readers)
    if handler.unary_unary is None:
        return handler
    return grpc.unary_unary_rpc_method_handler(answering(handler.unary_unary), **readers)
