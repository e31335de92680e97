"""Load in a process of its own: closed loops that find what a server can do, open ones that do not care.

with Generator() as generator:
    peak = await generator.closed(address, sound, clients=64, seconds=5)
    flood = await generator.open(address, sound, rate=10 * peak.per_second, seconds=60)
"""

import asyncio
import multiprocessing
import signal
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import grpc
from grpc import StatusCode

from benchmarks.faults.calls import OWN_LOCAL_POOL, Sound, ask

CHANNELS: Final = 8
"""Connections that an open loop spreads its calls over."""


@dataclass(frozen=True)
class Sent:
    """One call, on the clock of the machine (time.perf_counter), which all its processes share.

    Attributes:
        due: when it should have begun.
        began: when it did; the difference is the generator's own delay.
        ended: when it was over.
        code: how; the number of the status.
    """

    due: float
    began: float
    ended: float
    code: int

    @property
    def ok(self) -> bool:
        """Say whether it was answered."""
        return self.code == StatusCode.OK.value[0]

    @property
    def refused(self) -> bool:
        """Say whether it was turned away."""
        return self.code == StatusCode.RESOURCE_EXHAUSTED.value[0]


@dataclass(frozen=True)
class Offered:
    """What was sent, and from when to when."""

    sent: tuple[Sent, ...]
    began: float
    ended: float

    def answered_per_second(self, skip_s: float = 0.0) -> float:
        """Return the answers of a second, those that came in the first `skip_s` aside."""
        since = self.began + skip_s
        return sum(one.ok and since <= one.ended <= self.ended for one in self.sent) / (self.ended - since)


class Generator:
    """A process that sends."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _ignore_interrupts)

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
        return await self._run(_closed, address, tuple(sounds), clients, seconds, timeout_s)

    async def open(
        self, address: str, sounds: Sequence[Sound], *, rate: float, seconds: float, timeout_s: float = 60.0
    ) -> Offered:
        """Begin `rate` calls a second for a time, whatever becomes of them."""
        return await self._run(_open, address, tuple(sounds), rate, seconds, timeout_s)

    async def _run(self, work: object, *arguments: object) -> Offered:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _in_loop, work, *arguments)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it


def _in_loop(work: object, *arguments: object) -> Offered:
    making: Coroutine[None, None, Offered] = work(*arguments)  # type: ignore[operator]
    return asyncio.run(making)


async def _closed(address: str, sounds: Sequence[Sound], clients: int, seconds: float, timeout_s: float) -> Offered:
    sent: list[Sent] = []
    async with grpc.aio.insecure_channel(address) as channel:
        began = time.perf_counter()

        async def send(first: int) -> None:
            place = first
            while (now := time.perf_counter()) < began + seconds:
                ended = await ask(channel, sounds[place % len(sounds)], timeout_s)
                sent.append(Sent(now, now, time.perf_counter(), ended.code.value[0]))
                place += 1

        await asyncio.gather(*(send(place) for place in range(clients)))
    return Offered(tuple(sent), began, began + seconds)


async def _open(address: str, sounds: Sequence[Sound], rate: float, seconds: float, timeout_s: float) -> Offered:
    sent: list[Sent] = []
    running: set[asyncio.Task[None]] = set()
    channels = [grpc.aio.insecure_channel(address, options=[OWN_LOCAL_POOL]) for _ in range(CHANNELS)]

    async def send(place: int, due: float) -> None:
        began = time.perf_counter()
        ended = await ask(channels[place % CHANNELS], sounds[place % len(sounds)], timeout_s)
        sent.append(Sent(due, began, began + ended.seconds, ended.code.value[0]))

    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    first = time.perf_counter()
    for place in range(round(rate * seconds)):
        due = first + place / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        elif place % 16 == 0:
            await asyncio.sleep(0)  # behind: let the answers in, too
        task = asyncio.create_task(send(place, due))
        running.add(task)
        task.add_done_callback(running.discard)
    ended = time.perf_counter()
    await asyncio.gather(*running)
    for channel in channels:
        await channel.close()
    return Offered(tuple(sent), first, ended)
