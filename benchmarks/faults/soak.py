"""Mixed traffic of all services for a long time: memory stays, and late calls take as long as early ones."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc
from grpc import StatusCode

from benchmarks.faults.calls import SHIPPED, Sound, Subject, ask, sound_requests
from benchmarks.faults.outcome import Outcome, percentile
from benchmarks.faults.servers import WatchedProcess
from benchmarks.memory_growth import TARGET_PERCENT

TIMEOUT_S: Final = 60.0
WARM_UP: Final = 0.15
"""The share of the time after which memory counts."""
ENDS: Final = 1 / 6
"""The share of the time at either end whose p99 are compared: 5 of 30 minutes."""
TIMES_P99: Final = 1.2
LOOKS: Final = 20
"""How often the memory is read after the warm-up."""


@dataclass
class Seen:
    """What came of the calls: when each ended, and how long it took."""

    calls: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


async def soak(
    server: WatchedProcess, *, seconds: float, clients: int = 4, subject: Subject = SHIPPED, seed: int = 0
) -> Outcome:
    """Keep calls of all kinds running for a time.

    Args:
        server: where to.
        seconds: how long, warm-up included.
        clients: calls at a time.
        subject: what the server has.
        seed: of the order.
    """
    sounds = sound_requests(subject)
    seen = Seen()
    memory: list[float] = []
    began = time.monotonic()
    async with grpc.aio.insecure_channel(server.address) as channel:
        calling = [
            asyncio.create_task(_call(channel, sounds, random.Random(f"{seed} {place}"), began + seconds, seen))
            for place in range(clients)
        ]
        await asyncio.sleep(WARM_UP * seconds)
        for number in range(LOOKS + 1):
            memory.append((await asyncio.to_thread(server.look)).mebibytes)
            due = began + seconds * (WARM_UP + (1 - WARM_UP) * (number + 1) / (LOOKS + 1))
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*calling)
    left = server.look_when(lambda look: look.requests == 0)
    wrong = list(dict.fromkeys(seen.wrong))[:5]
    if left.requests:
        wrong.append(f"{left.requests} requests were left in the engine")
    lasted = time.monotonic() - began
    early = [took for when, took in seen.calls if when - began <= ENDS * lasted]
    late = [took for when, took in seen.calls if when - began >= (1 - ENDS) * lasted]
    first, last = (1000 * percentile(some, 0.99) for some in (early, late))
    grown = 100 * (memory[-1] / memory[0] - 1)
    missed = []
    if grown > TARGET_PERCENT:
        missed.append(f"memory grew by more than {TARGET_PERCENT:g} %")
    if last > TIMES_P99 * first:
        missed.append(f"p99 at the end more than {TIMES_P99:g} times that at the beginning")
    return Outcome(
        f"{lasted / 60:.1f} min of calls of all services and kinds, {clients} at a time, to the {server.setup.kind} models",
        (
            f"{len(seen.calls):,} calls, {len(seen.wrong)} of them not answered",
            f"memory {memory[0]:.1f} MiB after the warm-up of {WARM_UP:.0%} of the time, {memory[-1]:.1f} MiB at the end "
            f"({grown:+.2f} %), at most {max(memory):.1f} MiB",
            f"p99 {first:.0f} ms in the first sixth, {last:.0f} ms in the last ({last / first - 1:+.0%})",
        ),
        wrong,
        missed,
    )


async def _call(
    channel: grpc.aio.Channel, sounds: Sequence[Sound], chance: random.Random, until: float, seen: Seen
) -> None:
    while time.monotonic() < until:
        sound = chance.choice(sounds)
        ended = await ask(channel, sound, TIMEOUT_S)
        seen.calls.append((time.monotonic(), ended.seconds))
        if ended.code is not StatusCode.OK:
            seen.wrong.append(f"{sound.rpc} ended with {ended.code.name}: {ended.details}")
