"""Load in a process of its own: closed loops that find what a server can do, open ones that do not care.

with Generator() as generator:
    peak = await generator.closed(address, sound, clients=64, seconds=5)
    flood = await generator.open(address, sound, rate=10 * peak.per_second, seconds=60)
"""

import asyncio
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from grpc import StatusCode

from benchmarks.faults.calls import Sound
from benchmarks.faults.connection import Call, Connection, Request
from benchmarks.faults.sent import Offered

CONNECTIONS: Final = 8
"""That calls are spread over."""
AHEAD: Final = 64
"""Calls begun in a row, where the loop is behind, before it looks at what has come."""
NICE: Final = -10
"""The generator stands for other machines: where it may, it goes before whoever else wants its core."""


class Generator:
    """A process that sends."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _settle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    async def closed(
        self, address: str, sounds: Sequence[Sound], *, clients: int, seconds: float, timeout_s: float = 60.0
    ) -> Offered:
        """Keep `clients` calls running for a time."""
        return await self._run(closed_loop, address, _requests(sounds, timeout_s), clients, seconds, timeout_s)

    async def open(
        self, address: str, sounds: Sequence[Sound], *, rate: float, seconds: float, timeout_s: float = 60.0
    ) -> Offered:
        """Begin `rate` calls a second for a time, whatever becomes of them."""
        return await self._run(open_loop, address, _requests(sounds, timeout_s), rate, seconds, timeout_s)

    async def _run(self, loop: object, *arguments: object) -> Offered:
        return await asyncio.get_running_loop().run_in_executor(self._pool, loop, *arguments)  # type: ignore[arg-type]


def open_loop(address: str, requests: Sequence[Request], rate: float, seconds: float, timeout_s: float) -> Offered:
    """Begin `rate` calls a second for a time, whatever becomes of them.

    Args:
        address: host:port, no TLS.
        requests: one after the other, and again.
        rate: calls a second.
        seconds: how long.
        timeout_s: after so long, and a second, a call without a status has DEADLINE_EXCEEDED.
    """
    calls: list[Call] = []
    count, left = round(rate * seconds), 0
    with _Loop(address, CONNECTIONS) as loop:
        while len(calls) < count or left:
            now = time.perf_counter()
            stop = min(len(calls) + AHEAD, count)
            while len(calls) < stop and (due := loop.began + len(calls) / rate) <= now:
                call, place = Call(due, now), len(calls)
                calls.append(call)
                loop.connections[place % CONNECTIONS].begin(call, requests[place % len(requests)])
                left += 1
            wait = loop.began + len(calls) / rate - now if len(calls) < count else 0.1
            left -= sum(len(ended) for _, ended in loop.turn(wait))
            if now > loop.began + seconds + timeout_s + 1:
                loop.give_up()
        return loop.offered(calls, seconds)


def closed_loop(address: str, requests: Sequence[Request], clients: int, seconds: float, timeout_s: float) -> Offered:
    """Keep `clients` calls running for a time; see `open_loop`."""
    calls: list[Call] = []
    left = 0

    def begin(connection: Connection, now: float) -> None:
        nonlocal left
        call = Call(now, now)
        connection.begin(call, requests[len(calls) % len(requests)])
        calls.append(call)
        left += 1

    with _Loop(address, min(clients, CONNECTIONS)) as loop:
        for client in range(clients):
            begin(loop.connections[client % len(loop.connections)], loop.began)
        while left:
            found = loop.turn(0.1)
            now = time.perf_counter()
            for connection, ended in found:
                left -= len(ended)
                for _ in ended if now < loop.began + seconds and not connection.over else ():
                    begin(connection, now)
            if now > loop.began + seconds + timeout_s + 1:
                loop.give_up()
        return loop.offered(calls, seconds)


class _Loop:
    """Waits for whichever connection has news.

    Attributes:
        connections: all of them.
        began: when they were there.
    """

    def __init__(self, address: str, count: int) -> None:
        self.connections = [Connection.to(address) for _ in range(count)]
        self._poll = select.epoll()
        self._by_number = {each.socket.fileno(): each for each in self.connections}
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)
        self.began, self._processor = time.perf_counter(), time.process_time()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_up()
        self._poll.close()

    def turn(self, wait_s: float) -> list[tuple[Connection, list[Call]]]:
        """Send what is to be sent, wait, and return the calls that are over by their connection."""
        for each in self.connections:
            each.flush()
        for number, _ in self._poll.poll(max(0.0, wait_s)):
            self._by_number[number].read()
        return [(each, ended) for each in self.connections if (ended := each.take_ended())]

    def give_up(self) -> None:
        """End all calls."""
        for each in self.connections:
            if not each.over:
                each.end(StatusCode.DEADLINE_EXCEEDED)

    def offered(self, calls: Sequence[Call], seconds: float) -> Offered:
        """Return what was sent, all of which is over."""
        processor_s = time.process_time() - self._processor
        return Offered(tuple(call.sent() for call in calls), self.began, self.began + seconds, processor_s)


def _settle() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)


def _requests(sounds: Sequence[Sound], timeout_s: float) -> list[Request]:
    return [Request.of(sound.path, sound.request.SerializeToString(), timeout_s) for sound in sounds]
