"""Takes calls from gRPC's core, several at a time.

grpc.aio asks its core for one call, waits for it, and asks for the next: five rounds of the event loop for each, however many wait.
A round is short on an idle machine. Beside an engine that holds the interpreter, on cores that others want, it takes milliseconds,
and then calls are not looked at, and not refused, for seconds. Here several are asked for at once of every method, and each costs
less processor. Of every method: one that was left to grpc.aio would wait for ever where many of the others are taken at a time.

How many depends on what becomes of them. A call that is to be refused is best taken soon. One that is to be answered is not: while
it waits in gRPC's core its client can give it up at no cost, and taken too early it costs a turn of the engine. But where calls of
a method come faster than they are taken they pile up, whatever the engine could do, and gRPC drops those that have waited for 30 s.
Nobody says how many wait; but where some do, the next one is mostly there when it is asked for.

While a queue is full the event loop rests for a moment in each round that takes a call. Otherwise it wakes for every event of
every call that is to be refused, a thousand times a second and more, and takes the interpreter from the engine each time, which
has answers to find.

What this calls is grpc.aio's own and no part of its interface, so it is used where it looks as it did in the version that it was
written for (1.85); grpc.aio takes calls by itself otherwise, one at a time.
"""

import asyncio
import importlib
import inspect
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import grpc

from serving.calls.methods import Methods

logger = logging.getLogger(__name__)

AT_ONCE: Final = 2
"""Calls of each busy method that are asked for at a time; of every other method one."""
AT_ONCE_CROWDED: Final = 32
"""The same while a queue is full, so that most calls are to be refused; of every other method a quarter as many."""
REST_S: Final = 0.0001
"""How long the event loop rests in a round that has taken a call while a queue is full."""
MORE: Final = 64
"""By how many more calls of a method must have been there when they were asked for than not, before one more of it is asked for at
a time. Fewer may be clients who were answered together and call again together."""
FEWER: Final = 16
"""The same of calls that were not there, before one fewer is."""
LOOKED_AT: Final = 8
"""Of so many calls of a method one is looked at, for all of them: whether it was there. Looking keeps the event loop awake."""
ROUNDS: Final = 3
"""Rounds of the event loop within which a call comes that was there: a thread of gRPC tells, a future is done, a task goes on."""
TAKING: Final = "takes calls of "
"""How the names of tasks begin that wait for a call. After a full queue there are more of them until each has taken one."""
CORE: Final[Any] = importlib.import_module("grpc._cython.cygrpc")
KNOWN: Final = {
    "_handle_rpc": ["method_name", "method_resolver", "interceptors", "rpc_state", "loop", "concurrency_exceeded"],
    "_schedule_rpc_coro": ["rpc_coro", "rpc_state", "loop", "method_name"],
    "AioServer._request_registered_call": ["self", "method"],
    "AioServer.is_running": ["self"],
}
"""What is called, and the names of what it takes."""


class Acceptors:
    """Takes the calls of a server from when it has started until it stops."""

    def __init__(
        self,
        server: grpc.aio.Server,
        methods: Methods,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        busy: Collection[str],
        crowded: Callable[[], bool],
    ) -> None:
        """Name all methods to the core of a server that has not started.

        Args:
            server: which has `interceptors`, and knows `methods`.
            methods: who answers; all of them are there.
            interceptors: the outermost first.
            busy: methods that many calls are made of; names that the server does not have mean nothing.
            crowded: says whether some queue is full.
        """
        self._methods = methods
        self._interceptors = tuple(interceptors)
        self._crowded = crowded
        names = methods.names if known() else ()
        self._usual = {method: AT_ONCE if method in busy else 1 for method in names}
        self._most = {method: AT_ONCE_CROWDED if method in busy else AT_ONCE_CROWDED // 4 for method in names}
        self._wanted = dict(self._usual)
        self._resting = False
        self._asked = dict.fromkeys(names, 0)
        self._there = dict.fromkeys(names, 0)
        self._asking = dict.fromkeys(names, 0)
        self._tasks: set[asyncio.Task[None]] = set()
        for method in names:
            service, _, name = method.strip("/").rpartition("/")
            handlers: dict[str, Any] = {name: methods.get(method)}
            server.add_registered_method_handlers(service, handlers)
        self._core: Any = getattr(server, "_server", None)

    def start(self) -> None:
        """Take calls, of a server that has started."""
        if not self._asking:
            logger.warning("this version of grpc is not known: calls are taken one at a time")
        self._ask(self._usual)

    def _ask(self, at_once: Mapping[str, int]) -> None:
        """Ask for so many calls of each method at a time."""
        for method, count in at_once.items():
            for _ in range(self._asking[method], count):
                self._asking[method] += 1
                self._keep(self._accept(method), TAKING + method)

    def _keep(self, work: Any, name: str | None = None) -> None:
        """Run a coroutine as a task; the event loop alone would let it go half-way."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, method: str) -> None:
        """Take one call of a method after the other, and have each answered, as long as so many are to be asked for."""
        loop, path = asyncio.get_running_loop(), method.encode()
        while self._core.is_running():
            self._asked[method] += 1
            rounds = Rounds(loop) if self._asked[method] % LOOKED_AT == 0 else None
            try:
                state = await self._core._request_registered_call(path)
            except CORE._RequestCallError:  # the server stops, or a call was over before it was taken
                continue
            answering = CORE._handle_rpc(method, self._methods, self._interceptors, state, loop, False)
            self._keep(CORE._schedule_rpc_coro(answering, state, loop, method))
            # They hold the errors of the call, and with them its model, and the next call may be far.
            del state, answering
            if rounds is not None:
                self._count(method, was_there=not rounds.over)
            if self._crowded():
                self._ask(self._most)  # until no queue is full any more
                if not self._resting:
                    self._resting = True
                    loop.call_soon(self._rest)
            elif self._asking[method] > self._wanted[method]:
                break
        self._asking[method] -= 1

    def _rest(self) -> None:
        """Rest in this round of the event loop."""
        self._resting = False
        time.sleep(REST_S)

    def _count(self, method: str, *, was_there: bool) -> None:
        """Want one more of a method at a time where calls are mostly there, one fewer where they are mostly not."""
        self._there[method] += LOOKED_AT if was_there else -LOOKED_AT
        if self._there[method] >= MORE:
            self._wanted[method] = min(self._wanted[method] + 1, self._most[method])
            self._ask({method: self._wanted[method]})
        elif self._there[method] <= -FEWER:
            self._wanted[method] = max(self._wanted[method] - 1, self._usual[method])
        else:
            return
        self._there[method] = 0


class Rounds:
    """A few rounds of the event loop from now on, which does not sleep before they are over.

    Attributes:
        over: whether they are.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.over = False
        self._left = ROUNDS
        self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._left:
            self._left -= 1
            loop.call_soon(self._next, loop)
        else:
            self.over = True


def known() -> bool:
    """Say whether what is called here is there, and takes what it took."""
    return all(_parameters(name) == parameters for name, parameters in KNOWN.items()) and hasattr(
        CORE, "_RequestCallError"
    )


def _parameters(name: str) -> list[str] | None:
    """Return the names of what one of the core's functions takes; None where there is no such function."""
    found = CORE
    for part in name.split("."):
        found = getattr(found, part, None)
    try:
        return list(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return None
