"""Many connections, half of them giving up at random moments: nothing of theirs stays, and nobody else's answer changes."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import grpc
from grpc import StatusCode

from benchmarks.faults.calls import OWN_LOCAL_POOL, Expected, ask, sound_requests
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
    """What came of the calls: how they ended, which failed that nobody gave up, and which answers were others than before."""

    ended: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    connections: int = 0
    failed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


async def cancelling(server: WatchedProcess, *, connections: int, seconds: float, seed: int = 0) -> Outcome:
    """Call from many connections for a time, half of them cancelling, and compare what the server holds before and after.

    Args:
        server: planned models, whose answers do not depend on what else is in a batch.
        connections: how many at a time; every second one cancels its calls.
        seconds: how long, after a wave of a tenth of it that opens what stays open.
        seed: of moments and requests.
    """
    tracebacks = -server.tracebacks()
    expected = await Expected.of(server.address, sound_requests())
    chances = [random.Random(f"{seed} {place}") for place in range(connections)]
    seen = Seen()
    await _wave(server, expected, chances, max(1.0, seconds / 10), Seen())
    before = server.look_settled(_is_idle)
    await _wave(server, expected, chances, seconds, seen)
    after = server.look_when(lambda look: _is_idle(look) and _no_more(before, look))
    wrong = [*seen.failed[:5], *seen.changed[:5], *_leaks(before, after)]
    later = expected.changes(await Expected.of(server.address, expected.sounds))
    wrong += [f"afterwards {rpc} is answered differently" for rpc in later]
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
            f"calls that failed although nobody gave them up: {len(seen.failed)}",
            f"answers that changed: {len(seen.changed)} on the way, {len(later)} after",
            f"the engine withdrew {counters['cancelled']:,} requests and evicted {counters['evicted_rows']:,} rows",
            *(f"{name} {old:,} before, {new:,} after" for name, old, new in _held(before, after)),
            f"memory {before.mebibytes:.0f} MiB before, {after.mebibytes:.0f} MiB after",
        ),
        wrong,
    )


async def _wave(
    server: WatchedProcess, expected: Expected, chances: Sequence[random.Random], seconds: float, seen: Seen
) -> None:
    until = time.monotonic() + seconds

    async def connect(chance: random.Random, *, cancels: bool) -> None:
        while time.monotonic() < until:
            seen.connections += 1
            async with AsyncExitStack() as stack:
                channel = grpc.aio.insecure_channel(server.address, options=[OWN_LOCAL_POOL])
                await stack.enter_async_context(channel)
                while time.monotonic() < until and chance.random() >= RECONNECTING:
                    sound = chance.choice(expected.sounds)
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
                    if ended.code is StatusCode.RESOURCE_EXHAUSTED:
                        continue  # a full queue is the only other way for a call to end
                    if ended.code is not StatusCode.OK:
                        seen.failed.append(f"{sound.rpc} ended with {ended.code.name}: {ended.details}")
                    elif fault := expected.fault(sound, ended):
                        seen.changed.append(fault)

    await asyncio.gather(*(connect(chance, cancels=place % 2 == 1) for place, chance in enumerate(chances)))


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
