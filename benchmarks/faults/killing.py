"""SIGKILL of one of two servers while calls run: a client that knows both and retries loses none."""

import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from beamstep.client import AsyncClient, RetryPolicy, ServiceError
from benchmarks.faults.calls import SENTENCES, SQUARE
from benchmarks.faults.outcome import Outcome, percentile
from benchmarks.faults.servers import WatchedProcess
from benchmarks.faults.watched import Setup

POLICY: Final = RetryPolicy(attempts=5)
TIMEOUT_S: Final = 60.0


@dataclass
class Seen:
    """What came of the calls."""

    answered: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


async def killing(*, times: int, clients: int, loaded_s: float, step_s: float = 0.01, seed: int = 0) -> Outcome:
    """Kill one of two servers, start it again on the same port, kill the other, and so on.

    Args:
        times: how many are killed.
        clients: unary calls at a time, of one channel that calls both in turn.
        loaded_s: seconds between the first calls to one that is back and the death of the other, at random from half to all of it.
        step_s: how long a step of the planned models takes.
        seed: of moments.
    """
    chance = random.Random(seed)
    seen = Seen()
    with tempfile.TemporaryDirectory() as models:
        setup = Setup(models, kind="planned", step_s=step_s)
        servers: list[WatchedProcess] = []
        try:
            for _ in range(2):
                servers.append(WatchedProcess(setup))
                servers[-1].wait_until_serving()
            ports = [int(server.address.rpartition(":")[2]) for server in servers]
            both = f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
            async with AsyncClient(both, timeout_s=TIMEOUT_S, retry=POLICY) as client:
                until = asyncio.Event()
                calling = [asyncio.create_task(_call(client, place, until, seen)) for place in range(clients)]
                for number in range(times):
                    await asyncio.sleep(loaded_s * chance.uniform(0.5, 1))
                    place = number % 2
                    servers[place].send(signal.SIGKILL)
                    await asyncio.sleep(loaded_s * chance.uniform(0.5, 1))
                    servers[place].stop()
                    servers[place] = WatchedProcess(replace(setup, port=ports[place]))
                    await asyncio.to_thread(servers[place].wait_until_serving)
                    await asyncio.to_thread(servers[place].look_when, lambda look: look.counters["submitted"] > 0)
                until.set()
                await asyncio.gather(*calling)
        finally:
            for server in servers:
                server.stop()
    wrong = list(dict.fromkeys(seen.wrong))[:5]
    if not sum(seen.answered.values()):
        wrong.append("nothing was answered")
    return Outcome(
        f"SIGKILL {times} times to one of two servers in turn, with {clients} unary calls running on one channel of "
        f"`AsyncClient` to both, {POLICY.attempts} attempts (seed {seed})",
        (
            f"{sum(seen.answered.values()):,} calls answered, {len(seen.wrong)} lost or wrong",
            f"latency: median {1000 * percentile(seen.seconds, 0.5):.0f} ms, most {1000 * max(seen.seconds, default=0):.0f} ms",
        ),
        wrong,
    )


async def _call(client: AsyncClient, place: int, until: asyncio.Event, seen: Seen) -> None:
    text = SENTENCES[place % len(SENTENCES)]
    while not until.is_set():
        began = time.perf_counter()
        try:
            if place % 3:
                right = (await client.translate(text)).hypotheses[0].text == text
            else:
                right = (await client.find_convex_hull(SQUARE)).hypotheses[0].exact
        except ServiceError as error:
            seen.wrong.append(f"a call was lost: {error}")
            continue
        seen.seconds.append(time.perf_counter() - began)
        seen.answered["right" if right else "wrong"] += 1
        if not right:
            seen.wrong.append("a wrong answer")
