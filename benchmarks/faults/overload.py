"""Ten times what the server can do, by an open loop: it goes on doing what it can, and refuses the rest at once."""

import asyncio
import statistics
import time
from collections import Counter
from typing import Final

import grpc
from grpc import StatusCode

from benchmarks.faults.calls import Sound, ask
from benchmarks.faults.offering import Generator
from benchmarks.faults.outcome import Outcome, percentile
from benchmarks.faults.sent import Offered, Sent
from benchmarks.faults.servers import WatchedProcess

TIMES: Final = 10
GOODPUT: Final = 0.9
REFUSAL_S: Final = 0.05
RECOVERY_S: Final = 2.0
SETTLE_SHARE: Final = 0.1
"""The share of an overload in which queues fill; goodput is counted after it."""


async def overload(
    server: WatchedProcess,
    sound: Sound,
    *,
    seconds: float,
    peak_s: float,
    clients: int,
    address: str = "",
    path: str = "",
) -> Outcome:
    """Find the peak with closed loops, offer ten times as much, and see how soon the server is as before.

    Args:
        server: where to.
        sound: the request that is sent.
        seconds: of the overload.
        peak_s: of looking for the peak.
        clients: calls at a time that find it; as many as fill the batch.
        address: where calls go; "" is the server's own, another one whoever stands in front of it.
        path: who that is, in words.
    """
    address = address or server.address
    with Generator() as generator:
        await generator.closed(address, [sound], clients=clients, seconds=peak_s / 4)  # warms both up
        quiet_s = await _alone_s(address, sound)
        used = server.processor_s()
        found = await generator.closed(address, [sound], clients=clients, seconds=peak_s)
        at_peak = (server.processor_s() - used) / (found.ended - found.began)
        peak = found.answered_per_second()
        before, used = server.look(), server.processor_s()
        flood = await generator.open(address, [sound], rate=TIMES * peak, seconds=seconds)
        recovered_s = await _recovery_s(address, sound, quiet_s, flood.ended)
    at_flood = (server.processor_s() - used) / (max(one.ended for one in flood.sent) - flood.began)
    after = server.look_when(lambda look: look.requests == 0)
    judged = _judged(flood, peak, quiet_s, recovered_s)
    wrong = [f"{after.requests} requests were left in the engine"] if after.requests else []
    cores = (
        f"the server used {at_peak:.2f} cores at the peak and {at_flood:.2f} at ten times that, the generator "
        f"{found.processor_s / (found.ended - found.began):.2f} and {flood.processor_s / (flood.ended - flood.began):.2f}"
    )
    return Outcome(
        f"{judged.done}, to the {server.setup.kind} models{path}",
        (*judged.figures, cores, f"memory {before.mebibytes:.0f} MiB before, {after.mebibytes:.0f} MiB after"),
        (*judged.wrong, *wrong),
        judged.missed,
    )


def _judged(flood: Offered, peak: float, quiet_s: float, recovered_s: float) -> Outcome:
    lasted = flood.ended - flood.began
    goodput = flood.answered_per_second(SETTLE_SHARE * lasted)
    refusals = [one.ended - one.began for one in flood.sent if one.refused]
    others = Counter(_name(one) for one in flood.sent if not (one.ok or one.refused))
    answers = [one.ended - one.began for one in flood.sent if one.ok]
    lags = [one.began - one.due for one in flood.sent]
    late = sum(seconds > REFUSAL_S for seconds in refusals)
    wrong = ["calls ended with " + ", ".join(f"{name} ({count:,})" for name, count in others.items())] if others else []
    if not refusals:
        wrong.append("nothing was refused: it was no overload")
    if not answers:
        wrong.append("nothing was answered")
    missed = []
    if goodput < GOODPUT * peak:
        missed.append(f"goodput below {GOODPUT:.0%} of the peak")
    if late:
        missed.append(f"{late:,} of {len(refusals):,} refusals took more than {1000 * REFUSAL_S:g} ms at the client")
    if recovered_s > RECOVERY_S:
        missed.append(f"recovery took more than {RECOVERY_S:g} s")
    return Outcome(
        f"{TIMES} times the peak of {peak:.0f} answers/s (closed loop) for {lasted:.0f} s, open loop from another process on the "
        f"same machine: {len(flood.sent):,} calls, {len(flood.sent) / lasted:.0f}/s",
        (
            f"goodput {goodput:.0f}/s, {goodput / peak:.0%} of the peak; answers after {1000 * percentile(answers, 0.5):.0f} ms "
            f"(median; p99 {1000 * percentile(answers, 0.99):.0f} ms)",
            f"{len(refusals):,} refusals: median {1000 * percentile(refusals, 0.5):.1f} ms, "
            f"p99 {1000 * percentile(refusals, 0.99):.1f} ms, most {1000 * max(refusals, default=0):.1f} ms; "
            f"{1 - late / max(1, len(refusals)):.2%} within {1000 * REFUSAL_S:g} ms",
            f"the generator began its calls up to {1000 * max(lags):.0f} ms late (p99 {1000 * percentile(lags, 0.99):.0f} ms)",
            f"a call as quick as before (at most twice {1000 * quiet_s:.0f} ms) {recovered_s:.2f} s after the end",
        ),
        wrong,
        missed,
    )


def _name(one: Sent) -> str:
    return next(code.name for code in StatusCode if code.value[0] == one.code)


async def _alone_s(address: str, sound: Sound) -> float:
    """Return what a call takes when there is no other."""
    async with grpc.aio.insecure_channel(address) as channel:
        return statistics.median([(await ask(channel, sound, 30)).seconds for _ in range(9)])


async def _recovery_s(address: str, sound: Sound, quiet_s: float, since: float) -> float:
    """Return how long after `since` a call was first answered in at most twice the quiet time."""
    async with grpc.aio.insecure_channel(address) as channel:
        while True:
            began = time.perf_counter()
            ended = await ask(channel, sound, 30)
            if (ended.code is StatusCode.OK and ended.seconds <= 2 * quiet_s) or began - since > 30:
                return time.perf_counter() - since
            await asyncio.sleep(0.02)
