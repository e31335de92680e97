"""Clients that do not behave, each kind beside one that does: what it must not have, and what it may cost the other.

The kinds are coroutines that hold their trouble up until they are cancelled; `TROUBLES` names them.
"""

import asyncio
import gzip
import io
import socket
import statistics
import struct
import time
import zlib
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from grpc import StatusCode
from PIL import Image

from beamstep.requests import captioning_request, translation_request
from beamstep.v1.decoding_pb2 import DecodingOptions
from benchmarks.faults import frames
from benchmarks.faults.calls import PACKAGE, SENTENCES, ask, call, sound_requests
from benchmarks.faults.offering import Generator
from benchmarks.faults.outcome import Outcome, percentile
from benchmarks.faults.servers import WatchedProcess
from benchmarks.faults.watched import Look

TIMEOUT_S: Final = 60.0
TIMES_P99: Final = 2.0
VICTIM_CLIENTS: Final = 4
GROWTH_MEBIBYTES: Final = 400.0
"""What the server's peak may rise by: two images of the most pixels at a time, decoded at 4 bytes a pixel."""
TRANSLATE: Final = PACKAGE + "TranslationService/TranslateText"


@dataclass(frozen=True)
class Sizes:
    """How much trouble is made.

    Attributes:
        idle: connections that were opened and do nothing.
        half_open: connections that never get as far as HTTP/2, of each kind.
        slow: connections whose answers are never read.
        oversized_mebibytes: of a message over the limit, which is 16 by default.
        bomb_mebibytes: what a compressed message inflates to.
        victim_s: seconds of each measurement of the clients that behave.
        repeats: measurements without and with, interleaved.
    """

    idle: int = 500
    half_open: int = 50
    slow: int = 20
    oversized_mebibytes: int = 17
    bomb_mebibytes: int = 60
    victim_s: float = 1.0
    repeats: int = 1


@dataclass
class Notes:
    """What the trouble saw itself."""

    codes: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def note(self, what: str, code: StatusCode, allowed: StatusCode) -> None:
        """Count how a call of the trouble ended."""
        self.codes[what] = self.codes.get(what, 0) + 1
        if code is not allowed:
            self.wrong.append(f"{what} ended with {code.name} and not {allowed.name}")


Trouble = Callable[[WatchedProcess, Sizes, Notes, asyncio.Event], Coroutine[Any, Any, None]]
"""Takes the server, sizes and notes; sets the event once it stands, and goes on until it is cancelled."""


async def hostile(server: WatchedProcess, sizes: Sizes) -> Outcome:
    """Measure calls of clients that behave, in a process of their own, without and with each kind of trouble, in turn."""
    figures: list[str] = []
    wrong: list[str] = []
    missed: list[str] = []
    sounds = [sound for sound in sound_requests() if sound.rpc == "TranslationService/TranslateText"][:1]
    with Generator() as generator:

        async def victim() -> list[float]:
            offered = await generator.closed(server.address, sounds, clients=VICTIM_CLIENTS, seconds=sizes.victim_s)
            wrong.extend(f"a sound call ended with {one.code}" for one in offered.sent if not one.ok)
            return [one.ended - one.began for one in offered.sent]

        await victim()  # warms up
        before = server.look_settled(lambda look: look.requests == 0)
        for name, trouble in TROUBLES.items():
            notes, without, beside = Notes(), [], []
            for _ in range(sizes.repeats):
                without.append(await victim())
                beside.append(await _beside(victim, trouble, server, sizes, notes))
            wrong += [f"{name}: {what}" for what in dict.fromkeys(notes.wrong)]
            alone, with_it = (
                1000 * statistics.median(percentile(some, 0.99) for some in runs) for runs in (without, beside)
            )
            ratio = with_it / alone
            seen = "".join(f"; {number:,} {what}" for what, number in notes.codes.items())
            figures.append(
                f"{name}: p99 of others {alone:.0f} ms without, {with_it:.0f} ms beside it ({ratio:.2f} times){seen}"
            )
            if ratio > TIMES_P99:
                missed.append(f"{name}: others' p99 {ratio:.2f} times as long")
    async with grpc.aio.insecure_channel(server.address) as channel:
        for sound in sound_requests():
            ended = await ask(channel, sound, TIMEOUT_S)
            if ended.code is not StatusCode.OK:
                wrong.append(f"afterwards a sound {sound.rpc} got {ended.code.name}")
    after = server.look_when(lambda look: _let_go(before, look))
    if not _let_go(before, after):
        wrong.append(f"left behind: {after}, before: {before}")
    risen = (after.peak_bytes - before.peak_bytes) / 2**20
    if risen > GROWTH_MEBIBYTES:
        wrong.append(f"the server's memory rose by {risen:.0f} MiB")
    return Outcome(
        f"{sizes.idle:,} idle connections, {3 * sizes.half_open} half-open ones, {4 * sizes.slow} calls whose answers are never "
        f"read, messages of {sizes.oversized_mebibytes} MiB, bombs of {sizes.bomb_mebibytes} MiB or 3,600 million pixels; "
        f"beside each {VICTIM_CLIENTS} callers of the {server.setup.kind} models in a process of their own, medians of "
        f"{sizes.repeats} x {sizes.victim_s:g} s without and with, interleaved",
        (
            *figures,
            f"the server's memory rose by {risen:.0f} MiB at the most, and descriptors went from {before.descriptors} back to "
            f"{after.descriptors}",
        ),
        wrong,
        missed,
    )


def _let_go(before: Look, after: Look) -> bool:
    return after.requests == 0 and after.descriptors <= before.descriptors and after.tasks <= before.tasks


async def _beside(
    victim: Callable[[], Coroutine[Any, Any, list[float]]],
    trouble: Trouble,
    server: WatchedProcess,
    sizes: Sizes,
    notes: Notes,
) -> list[float]:
    """Return what the calls of those who behave take beside a trouble."""
    stands = asyncio.Event()
    making = asyncio.create_task(trouble(server, sizes, notes, stands))
    waiting = asyncio.create_task(stands.wait())
    try:
        await asyncio.wait({making, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if making.done():
            making.result()
        return await victim()
    finally:
        waiting.cancel()
        making.cancel()
        with suppress(asyncio.CancelledError):
            await making


# ---- the kinds of trouble


async def idle(server: WatchedProcess, sizes: Sizes, notes: Notes, stands: asyncio.Event) -> None:
    """Open connections as far as HTTP/2 goes, and do nothing with them."""
    with ExitStack() as stack:
        for place in range(sizes.idle):
            stack.enter_context(frames.connect(server.address))
            if place % 20 == 0:
                await asyncio.sleep(0)
        notes.codes["idle connections"] = sizes.idle
        stands.set()
        await asyncio.Event().wait()


async def half_open(server: WatchedProcess, sizes: Sizes, notes: Notes, stands: asyncio.Event) -> None:
    """Open connections that say nothing, half of what HTTP/2 begins with, or something else."""
    host, _, port = server.address.rpartition(":")
    beginnings = (b"", frames.PREFACE[:17], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with ExitStack() as stack:
        for place in range(sizes.half_open * len(beginnings)):
            opened = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            opened.sendall(beginnings[place % len(beginnings)])
            if place % 20 == 0:
                await asyncio.sleep(0)
        notes.codes["half-open connections"] = sizes.half_open * len(beginnings)
        stands.set()
        await asyncio.Event().wait()


async def unread(server: WatchedProcess, sizes: Sizes, notes: Notes, stands: asyncio.Event) -> None:
    """Ask for answers and let the server send none of their bytes: a window of 0, unary calls and streams."""
    options = DecodingOptions(beam_size=8, hypothesis_count=8, include_attention=True)
    data = translation_request(SENTENCES[0], "", "", options).SerializeToString()
    stream_path = PACKAGE + "TranslationService/StreamTranslateText"
    with ExitStack() as stack:
        for place in range(sizes.slow):
            opened = stack.enter_context(frames.connect(server.address, {frames.INITIAL_WINDOW_SIZE: 0}))
            path = (TRANSLATE, stream_path)[place % 2]
            opened.sendall(
                b"".join(frames.headers(path, stream) + frames.message(data, stream) for stream in (1, 3, 5, 7))
            )
            await asyncio.sleep(0)
        notes.codes["calls whose answers are not read"] = 4 * sizes.slow
        await asyncio.sleep(
            0.2
        )  # for the calls to get there; then what they ask for is done, and its answers wait to be read
        await asyncio.to_thread(server.look_when, lambda look: look.requests == 0)
        stands.set()
        await asyncio.Event().wait()


async def oversized(server: WatchedProcess, sizes: Sizes, notes: Notes, stands: asyncio.Event) -> None:
    """Send messages over the limit, and headers of messages that say 4 GiB, over and over."""
    too_long = bytes(sizes.oversized_mebibytes * 2**20)
    lie = frames.headers(TRANSLATE, 1) + frames.message(b"\x0a\x03ein", 1, length=2**32 - 1)
    async with grpc.aio.insecure_channel(server.address) as channel:
        while True:
            ended = await call(channel, TRANSLATE, too_long, TIMEOUT_S, streams=False)
            notes.note("oversized messages", ended.code, StatusCode.RESOURCE_EXHAUSTED)
            with frames.connect(server.address) as opened:
                opened.sendall(lie)
            stands.set()
            await asyncio.sleep(0.2)


async def bombs(server: WatchedProcess, sizes: Sizes, notes: Notes, stands: asyncio.Event) -> None:
    """Send small files and messages that would be huge, over and over."""
    images = [
        captioning_request(data, "", "", None).SerializeToString() for data in (huge_png(), _empty_png(8000, 8000))
    ]
    zeros = gzip.compress(bytes(sizes.bomb_mebibytes * 2**20), 9)
    async with grpc.aio.insecure_channel(server.address) as channel:
        while True:
            for data in images:
                ended = await call(channel, PACKAGE + "CaptioningService/CaptionImage", data, TIMEOUT_S, streams=False)
                notes.note("images of too many pixels", ended.code, StatusCode.INVALID_ARGUMENT)
            code = await asyncio.to_thread(_inflating, server.address, zeros)
            notes.note("compressed messages over the limit", code, StatusCode.RESOURCE_EXHAUSTED)
            stands.set()
            await asyncio.sleep(0.2)


def _inflating(address: str, zeros: bytes) -> StatusCode:
    """Send a message that gRPC is to inflate; return the status of the answer, UNKNOWN where none came."""
    step = 16_384
    with frames.connect(address) as opened:
        opened.sendall(frames.headers(TRANSLATE, 1, {"grpc-encoding": "gzip"}))
        data = struct.pack(">BI", 1, len(zeros)) + zeros
        assert len(data) < 2**16, "more would need the server's leave"
        for first in range(0, len(data), step):
            last = first + step >= len(data)
            opened.sendall(frames.frame(frames.DATA, frames.END_STREAM * last, 1, data[first : first + step]))
        until, received = time.monotonic() + TIMEOUT_S, b""
        while time.monotonic() < until:
            for code in StatusCode:
                if b"grpc-status" in received and _literal(received) == str(code.value[0]).encode():
                    return code
            some = opened.recv(65536)
            if not some:
                break
            received += some
    return StatusCode.UNKNOWN


def _literal(received: bytes) -> bytes:
    """Return the value behind the name grpc-status, which gRPC sends as a literal."""
    rest = received.partition(b"grpc-status")[2]
    return rest[1 : 1 + (rest[0] & 0x7F)] if rest else b""


def huge_png(width: int = 60_000, height: int = 60_000, rows: int = 200) -> bytes:
    """Return a file of a few kB that says it has 3,600 million pixels, and begins to have them."""
    deflated = zlib.compress((b"\0" + bytes(width // 8)) * rows, 9)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", deflated), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _empty_png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


TROUBLES: Final[Mapping[str, Trouble]] = {
    "idle connections": idle,
    "half-open connections": half_open,
    "answers not read": unread,
    "oversized messages": oversized,
    "bombs": bombs,
}
