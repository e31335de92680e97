"""The two ways of sending requests, on the clock of the running event loop.

An open loop sends when a request is due, whatever became of those before; so do people, who do not know of each other. A closed
loop is N clients, each sending its next request when its last was answered: nobody asks a server that stalls, so that only one
request of each client says so.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple


class Answer(NamedTuple):
    """What became of one call, its times on the event loop's clock.

    Attributes:
        sent: when it was really sent.
        ended: when its answer was there, or its failure.
        code: the name of its gRPC status, OK for an answer.
        messages: of a stream, when each message came.
        committed: of a stream, when the first message with committed text came; None without one.
        server_s: what the server says it spent, by name; `server` is all of it.
        tokens: of the best hypothesis; 0 where the answer does not say.
    """

    sent: float
    ended: float
    code: str
    messages: tuple[float, ...] = ()
    committed: float | None = None
    server_s: tuple[tuple[str, float], ...] = ()
    tokens: int = 0


class Outcome(NamedTuple):
    """An answer, and when its call was to be sent."""

    due: float
    answer: Answer


Call = Callable[[int], Awaitable[Answer]]
"""Sends the workload's request of that index."""


async def open_loop(call: Call, due: Iterable[float], picks: Iterator[int]) -> list[Outcome]:
    """Send a request at each of these times, in order, and wait for all that becomes of them."""
    loop = asyncio.get_running_loop()

    async def send(at: float, pick: int) -> Outcome:
        return Outcome(at, await call(pick))

    sending = []
    for at, pick in zip(due, picks, strict=False):
        await asyncio.sleep(max(0.0, at - loop.time()))
        sending.append(asyncio.create_task(send(at, pick)))
    return await asyncio.gather(*sending)


async def closed_loop(call: Call, clients: int, begin: float, end: float, picks: Iterator[int]) -> list[Outcome]:
    """Keep `clients` requests running from `begin` on, send none from `end` on, and wait for the last of them.

    A call that fails within a millisecond is followed by the next one only then, so that refusals cannot fill the run.
    """
    loop = asyncio.get_running_loop()
    outcomes: list[Outcome] = []

    async def send_one_after_another() -> None:
        await asyncio.sleep(max(0.0, begin - loop.time()))
        while (now := loop.time()) < end:
            answer = await call(next(picks))
            outcomes.append(Outcome(now, answer))
            if answer.code != "OK":
                await asyncio.sleep(max(0.0, now + 1e-3 - loop.time()))

    await asyncio.gather(*(send_one_after_another() for _ in range(clients)))
    return outcomes


async def watch_lag(until: asyncio.Event, every_s: float = 0.02) -> list[float]:
    """Find out how late the event loop itself is: by how much each of many short sleeps was too long, in seconds."""
    loop = asyncio.get_running_loop()
    lags = []
    while not until.is_set():
        at = loop.time() + every_s
        await asyncio.sleep(every_s)
        lags.append(loop.time() - at)
    return lags
