"""A plain grpc.aio server around anything that answers a batch: what the other sides of the tables run in.

It speaks our protos and does nothing of what our server does beside answering: no queue limits, deadlines, metrics or checks.
Imports grpc, the stubs and the standard library only, so that it runs in environments that hold another project's packages.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import grpc

HEALTH: Final = "/grpc.health.v1.Health/Check"
SERVING: Final = b"\x08\x01"
"""HealthCheckResponse(status=SERVING)."""
OPTIONS: Final = (("grpc.so_reuseport", 0),)


@dataclass(frozen=True)
class Method:
    """One unary method.

    Attributes:
        request: its request's class.
        answer: makes the answers of requests that are decoded together; runs in a thread of its own, or in several.
    """

    request: Any
    answer: Callable[[Sequence[Any]], Sequence[Any]]


class Batches:
    """Requests that wait while others are answered, taken `most` at a time in the order they came: static batching."""

    def __init__(
        self,
        answer: Callable[[Sequence[Any]], Sequence[Any]],
        most: int,
        threads: ThreadPoolExecutor,
        at_once: int = 1,
    ) -> None:
        """Take batches, `at_once` of them at a time; `threads` is shared by all methods and has as many workers."""
        self._answer = answer
        self._most = most
        self._threads = threads
        self._at_once = at_once
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._working = 0
        self._tasks: set[asyncio.Task[None]] = set()  # referred to, so that none is collected

    async def ask(self, request: Any) -> Any:
        """Answer a request, with others or alone."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._working < self._at_once:
            self._working += 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                try:
                    answers = await loop.run_in_executor(self._threads, self._answer, [request for request, _ in batch])
                except Exception as error:  # each of them is told
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
        finally:
            self._working -= 1


class _Handlers(grpc.GenericRpcHandler):
    """The methods by their paths, and the health check."""

    def __init__(self, methods: Mapping[str, Method], most: int, at_once: int) -> None:
        threads = ThreadPoolExecutor(at_once)
        self._handlers = {
            path: _unary(method, Batches(method.answer, most, threads, at_once)) for path, method in methods.items()
        }
        self._handlers[HEALTH] = grpc.unary_unary_rpc_method_handler(_healthy)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a path."""
        return self._handlers.get(str(handler_call_details.method))


def _unary(method: Method, batches: Batches) -> Any:
    async def answer(request: Any, _: Any) -> Any:
        return await batches.ask(request)

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=method.request.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


async def _healthy(_: bytes, __: Any) -> bytes:
    return SERVING


def handlers_of(methods: Mapping[str, Method], most: int, at_once: int = 1) -> grpc.GenericRpcHandler:
    """Return the handlers of methods, and of the health check; see `serve`."""
    return _Handlers(methods, most, at_once)


async def serve(address: str, methods: Mapping[str, Method], most: int, at_once: int = 1) -> None:
    """Serve until SIGTERM.

    Args:
        address: `host:port`.
        methods: by path, `/package.Service/Method`.
        most: so many waiting requests are answered together; 1 answers one at a time.
        at_once: so many batches are answered at the same time, each on a thread.
    """
    await until_terminated(address, [handlers_of(methods, most, at_once)])


async def until_terminated(address: str, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
    """Run a grpc.aio server with these handlers until SIGTERM."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(tuple(handlers))
    server.add_insecure_port(address)
    await server.start()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    await server.stop(1)
