"""Requests that no honest client sends, each over the wire: none may crash the server, hang it, or find a fault in it."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc
from grpc import StatusCode

from benchmarks.faults.calls import PLANNED, Ended, Sound, Subject, ask, call, sound_requests
from benchmarks.faults.mutations import Mutated, Mutator
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.servers import WatchedProcess

TIMEOUT_S: Final = 60.0
CLIENTS: Final = 16
ALLOWED: Final = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.RESOURCE_EXHAUSTED}
"""The caller's own faults; and a wide ensemble more, or a message over the limit, can be one too many."""
GROWTH_MEBIBYTES: Final = 64.0
"""What the memory may grow by from a tenth of the requests to the last, buffers and the pools of allocators included."""
LATE_S: Final = 5.0
"""How much later than its deadline a call may end, on a busy machine."""


@dataclass
class Seen:
    """What came of mutated requests."""

    codes: Counter[StatusCode] = field(default_factory=Counter)
    slowest_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def note(self, mutated: Mutated, ended: Ended) -> None:
        """Add one call."""
        self.codes[ended.code] += 1
        self.slowest_s = max(self.slowest_s, ended.seconds)
        if ended.code not in ALLOWED or ended.seconds > TIMEOUT_S + LATE_S:
            what = f"{mutated.sound.rpc} by {', '.join(mutated.how)}: {mutated.data[:400].hex()}"
            self.wrong.append(f"{ended.code.name} ({ended.details}) after {ended.seconds:.1f} s of {what}")


async def mutated(
    server: WatchedProcess, count: int, *, seed: int = 0, subject: Subject = PLANNED, clients: int = CLIENTS
) -> Outcome:
    """Send `count` mutated requests of all methods, and a sound one of each at the end.

    Args:
        server: where to.
        count: how many.
        seed: the same one makes the same requests.
        subject: what the server has.
        clients: calls at a time.
    """
    sounds = sound_requests(subject)
    mutator = Mutator(sounds, seed)
    seen = Seen()
    tracebacks = -server.tracebacks()
    async with grpc.aio.insecure_channel(server.address) as channel:
        await _send(channel, (next(mutator) for _ in range(count // 10)), seen, clients)
        before = server.look()
        await _send(channel, (next(mutator) for _ in range(count - count // 10)), seen, clients)
        wrong = [*seen.wrong[:5], *await _not_answered(channel, sounds)]
    after = server.look_when(lambda look: look.requests == 0)
    grown = after.mebibytes - before.mebibytes
    tracebacks += server.tracebacks()
    if tracebacks:
        wrong.append(f"{tracebacks} tracebacks were logged")
    if grown > GROWTH_MEBIBYTES:
        wrong.append(f"memory grew by {grown:.0f} MiB")
    if after.requests:
        wrong.append(f"{after.requests} requests were left in the engine")
    codes = ", ".join(f"{code.name} {number:,}" for code, number in seen.codes.most_common())
    return Outcome(
        f"{count:,} requests of all methods, each a sound one with one to four changes (seed {seed}), against the "
        f"{server.setup.kind} models, {clients} at a time",
        (
            codes,
            f"crashes, INTERNAL, UNKNOWN, past their deadline: {len(seen.wrong)}; tracebacks in the log: {tracebacks}",
            f"slowest answer {seen.slowest_s:.2f} s",
            f"memory {before.mebibytes:.0f} MiB after a tenth of them, {after.mebibytes:.0f} MiB after all",
        ),
        wrong,
    )


async def _send(channel: grpc.aio.Channel, requests: Iterable[Mutated], seen: Seen, clients: int) -> None:
    async def send_one_after_another() -> None:
        for one in requests:
            seen.note(one, await call(channel, one.sound.path, one.data, TIMEOUT_S, streams=one.sound.streams))

    await asyncio.gather(*(send_one_after_another() for _ in range(clients)))


async def _not_answered(channel: grpc.aio.Channel, sounds: Sequence[Sound]) -> list[str]:
    """Make every sound call; return what is wrong with their answers."""
    wrong = []
    for sound in sounds:
        ended = await ask(channel, sound, TIMEOUT_S)
        if ended.code is not StatusCode.OK:
            wrong.append(f"afterwards a sound {sound.rpc} got {ended.code.name}: {ended.details}")
    return wrong
