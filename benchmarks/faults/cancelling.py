"""Many connections, half of them giving up at random moments: nothing of theirs stays, and nobody else's answer changes."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import grpc
from grpc import StatusCode

from benchmarks.faults.calls import OWN_LOCAL_POOL, Sound, ask, sound_requests
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.servers import WatchedProcess
from benchmarks.faults.watched import Look

TIMEOUT_S: Final = 60.0
LONGEST_S: Final = 0.5
"""Those who give up do so within this time."""
RECONNECTING: Final = 0.02
"""The share of calls after which a connection is closed and another one opened, so that connections come and go, too."""
POOLS: Final = {"threads of Python": 2, "threads of the process": 8}
"""By how many threads a look may differ from the one before: two that decode images begin when they are first needed, and gRPC's
own pool grows and shrinks as it likes."""


@dataclass
class Seen:
    """What came of the calls."""

    ended: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    connections: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asking:
    """What is asked, and what must not change of the answers, by the request's id."""

    sounds: Sequence[Sound]
    expected: Mapping[int, bytes]


async def cancelling(server: WatchedProcess, *, connections: int, seconds: float, seed: int = 0) -> Outcome:
    """Call from many connections for a time, half of them cancelling, and compare what the server holds before and after.

    Args:
        server: planned models, whose answers do not depend on what else is in a batch.
        connections: how many at a time; every second one cancels its calls.
        seconds: how long, after a wave of a tenth of it that opens what stays open.
        seed: of moments and requests.
    """
    sounds = sound_requests()
    tracebacks = -server.tracebacks()
    expected = await _answers(server, sounds)
    asking = Asking(sounds, expected)
    chances = [random.Random(f"{seed} {place}") for place in range(connections)]
    seen = Seen()
    await _wave(server, asking, chances, max(1.0, seconds / 10), Seen())
    before = server.look_settled(_is_idle)
    await _wave(server, asking, chances, seconds, seen)
    after = server.look_when(lambda look: _is_idle(look) and _no_more(before, look))
    wrong = [*seen.wrong[:5], *_leaks(before, after)]
    later = await _answers(server, sounds)
    wrong += [f"{sound.rpc} is answered differently" for sound in sounds if later[id(sound)] != expected[id(sound)]]
    tracebacks += server.tracebacks()
    if tracebacks:
        wrong.append(f"{tracebacks} tracebacks were logged")
    if not seen.cancelled or not seen.ended["OK"]:
        wrong.append(f"{seen.cancelled} calls were cancelled and {seen.ended['OK']} answered: nothing was tried")
    counters = {name: value - before.counters[name] for name, value in after.counters.items()}
    return Outcome(
        f"{connections} connections at a time for {seconds:g} s to the {server.setup.kind} models, every second one "
        f"cancelling each of its calls within {LONGEST_S:g} s (seed {seed})",
        (
            f"{sum(seen.ended.values()) + seen.cancelled:,} calls on {seen.connections:,} connections: {seen.cancelled:,} "
            f"cancelled, {', '.join(f'{name} {number:,}' for name, number in seen.ended.most_common())}",
            f"answers that changed: {len(seen.wrong)} on the way, {sum(later[key] != expected[key] for key in expected)} after",
            f"the engine withdrew {counters['cancelled']:,} requests and evicted {counters['evicted_rows']:,} rows",
            *(f"{name} {old:,} before, {new:,} after" for name, old, new in _held(before, after)),
            f"memory {before.mebibytes:.0f} MiB before, {after.mebibytes:.0f} MiB after",
        ),
        wrong,
    )


async def _answers(server: WatchedProcess, sounds: Sequence[Sound]) -> dict[int, bytes]:
    """Return what must not change of the answer to each request."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        return {id(sound): sound.same((await ask(channel, sound, TIMEOUT_S)).messages) for sound in sounds}


async def _wave(
    server: WatchedProcess, asking: Asking, chances: Sequence[random.Random], seconds: float, seen: Seen
) -> None:
    until = time.monotonic() + seconds

    async def connect(chance: random.Random, *, cancels: bool) -> None:
        while time.monotonic() < until:
            seen.connections += 1
            async with AsyncExitStack() as stack:
                channel = grpc.aio.insecure_channel(server.address, options=[OWN_LOCAL_POOL])
                await stack.enter_async_context(channel)
                while time.monotonic() < until and chance.random() >= RECONNECTING:
                    sound = chance.choice(asking.sounds)
                    calling = asyncio.ensure_future(ask(channel, sound, TIMEOUT_S))
                    if cancels:
                        await asyncio.wait({calling}, timeout=LONGEST_S * chance.random())
                        calling.cancel()
                    try:
                        ended = await calling
                    except asyncio.CancelledError:
                        seen.cancelled += 1
                        continue
                    seen.ended[ended.code.name] += 1
                    _check(sound, ended.messages, ended.code, asking.expected, seen)

    await asyncio.gather(*(connect(chance, cancels=place % 2 == 1) for place, chance in enumerate(chances)))


def _check(
    sound: Sound, messages: Sequence[bytes], code: StatusCode, expected: Mapping[int, bytes], seen: Seen
) -> None:
    """Compare an answer with that of a quiet server; a full queue is the only other way for a call to end."""
    if code is StatusCode.RESOURCE_EXHAUSTED:
        return
    if code is not StatusCode.OK:
        seen.wrong.append(f"{sound.rpc} ended with {code.name}")
        return
    try:
        if sound.same(messages) != expected[id(sound)]:
            seen.wrong.append(f"{sound.rpc} was answered differently")
    except ValueError as error:
        seen.wrong.append(f"{sound.rpc}: {error}")


def _held(before: Look, after: Look) -> list[tuple[str, int, int]]:
    return [
        ("requests in the engine", before.requests, after.requests),
        ("rows", before.rows, after.rows),
        ("tasks", before.tasks, after.tasks),
        ("threads of Python", before.threads, after.threads),
        ("threads of the process", before.native_threads, after.native_threads),
        ("descriptors", before.descriptors, after.descriptors),
    ]


def _is_idle(look: Look) -> bool:
    return look.requests == look.rows == 0


def _no_more(before: Look, after: Look) -> bool:
    return not _leaks(before, after)


def _leaks(before: Look, after: Look) -> list[str]:
    """Say what the server holds more of than it did."""
    leaks = [f"{new - old} {name} leaked" for name, old, new in _held(before, after) if new > old + POOLS.get(name, 0)]
    return leaks if _is_idle(after) else [*leaks, "requests were left in the engine"]
