"""The methods of a server by their names, found in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc

Handler = Any
"""A grpc.RpcMethodHandler, which is generic to type checkers alone."""


class Methods(grpc.GenericRpcHandler):
    """Takes what generated code would give a server, and answers for all of it as one generic handler.

    grpc.aio waits for the next call of each method that was registered with it, and begins to wait for all of them anew whenever
    one has come: with thirty methods that is a tenth of what a refused call costs. A generic handler is waited for once. Acceptors
    register methods all the same, and take most calls before grpc.aio gets to them.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Take the methods of one service, by their short names."""
        self._handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code gives the same methods twice."""

    @property
    def names(self) -> tuple[str, ...]:
        """All methods, as `/package.Service/Method`."""
        return tuple(self._handlers)

    def get(self, method: str) -> Handler | None:
        """Return a method's handler as it was given; None where there is no such method."""
        return self._handlers.get(method)

    def resolve_handler(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Find who answers a call, for grpc.aio's own code."""
        return self._handlers.get(handler_call_details.method)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Find who answers a call."""
        return self._handlers.get(handler_call_details.method)
