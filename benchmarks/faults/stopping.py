"""SIGTERM while calls run, again and again: every call is answered whole or says UNAVAILABLE."""

import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

import grpc
from grpc import StatusCode

from benchmarks.faults.calls import OWN_LOCAL_POOL, Expected, ask, sound_requests
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.servers import WatchedProcess
from benchmarks.faults.watched import Setup

TIMEOUT_S: Final = 60.0
SHORT_GRACE_S: Final = 0.05
"""Every second server has no more than this, so that running calls are cut off."""
LOADED_S: Final = (0.2, 1.0)
"""When the signal comes, after the calls have begun."""


@dataclass
class Seen:
    """What came of the calls."""

    ended: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    signalled: float = float("inf")
    wrong: list[str] = field(default_factory=list)


async def stopping(*, times: int, clients: int, step_s: float = 0.02, seed: int = 0) -> Outcome:
    """Start servers, load them and stop them, one after the other.

    Args:
        times: how many.
        clients: calls at a time, each on a connection of its own.
        step_s: how long a step of the planned models takes, so that calls are under way.
        seed: of moments and requests.
    """
    chance = random.Random(seed)
    sounds = [sound for sound in sound_requests() if not sound.rpc.startswith("ModelService")]
    seen = Seen()
    statuses: Counter[int] = Counter()
    slowest_s = 0.0
    expected: Expected | None = None
    with tempfile.TemporaryDirectory() as models:
        setup = Setup(models, kind="planned", step_s=step_s)
        server = WatchedProcess(setup)
        for number in range(times):
            following = None
            try:
                server.wait_until_serving()
                expected = expected or await Expected.of(server.address, sounds)
                if number + 1 < times:  # the next one starts meanwhile
                    grace_s = SHORT_GRACE_S if number % 2 == 0 else setup.grace_s
                    following = WatchedProcess(replace(setup, grace_s=grace_s))
                seen.signalled = float("inf")
                calling = [
                    asyncio.create_task(_call(server.address, expected, random.Random(chance.random()), seen))
                    for _ in range(clients)
                ]
                await asyncio.sleep(chance.uniform(*LOADED_S))
                server.send(signal.SIGTERM)
                seen.signalled = time.perf_counter()
                status = await asyncio.to_thread(server.wait)
                slowest_s = max(slowest_s, time.perf_counter() - seen.signalled)
                statuses[status] += 1
                await asyncio.gather(*calling)
                if status or "Traceback" in server.log():
                    seen.wrong.append(f"server {number} ended with status {status}: {server.log()[-1500:]}")
            finally:
                server.stop()
                if following is not None:
                    server = following
    wrong = list(dict.fromkeys(seen.wrong))[:5]
    if not seen.after["OK"]:
        wrong.append("no call was answered after a signal: nothing was under way")
    return Outcome(
        f"SIGTERM {times} times to a server of planned models with {clients} calls of all services running, every second time "
        f"with a grace of {SHORT_GRACE_S:g} s, otherwise {setup.grace_s:g} s (seed {seed})",
        (
            f"{sum(seen.ended.values()):,} calls: {_listed(seen.ended)}; of those that ended after the signal "
            f"{_listed(seen.after)}",
            f"wrong or half answers, other statuses: {len(seen.wrong)}",
            f"exit statuses {dict(statuses)}, the slowest stop {slowest_s:.2f} s",
        ),
        wrong,
    )


async def _call(address: str, expected: Expected, chance: random.Random, seen: Seen) -> None:
    """Call until the server is gone."""
    async with grpc.aio.insecure_channel(address, options=[OWN_LOCAL_POOL]) as channel:
        while True:
            sound = chance.choice(expected.sounds)
            ended = await ask(channel, sound, TIMEOUT_S)
            seen.ended[ended.code.name] += 1
            if time.perf_counter() > seen.signalled:
                seen.after[ended.code.name] += 1
            if ended.code is StatusCode.UNAVAILABLE:
                return
            if ended.code is not StatusCode.OK:
                seen.wrong.append(f"{sound.rpc} ended with {ended.code.name}: {ended.details}")
                return
            if fault := expected.fault(sound, ended):
                seen.wrong.append(fault)


def _listed(ended: Counter[str]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in ended.most_common()) or "none"
