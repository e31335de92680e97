"""gRPC calls over one connection at next to no cost: frames that were made before, and of an answer nothing but its status.

A call of gRPC's own Python client takes 0.3 ms of a core, and thousands a second the whole core that the server would need.
"""

import socket
import struct
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from grpc import StatusCode

from benchmarks.faults.frames import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    connect,
    frame,
    headers,
    message,
)
from benchmarks.faults.sent import Sent

WIDE: Final = 2**31 - 1
"""The largest window there is, and as many streams as nobody needs."""
FIRST_WINDOW: Final = 2**16 - 1
"""A connection's window before anybody says otherwise."""
STATUS: Final = (b"\x0bgrpc-status", b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f")
"""The name of the field with the status as HPACK writes it: plain, as gRPC does, and in Huffman's code, as nginx does."""
OF_RESET: Final = {7: StatusCode.UNAVAILABLE, 8: StatusCode.CANCELLED, 11: StatusCode.RESOURCE_EXHAUSTED}
"""What gRPC's clients make of HTTP/2's reasons to reset a stream; all others are INTERNAL."""
READ: Final = 2**18
UNKNOWN: Final = -1


class Request(NamedTuple):
    """A call's two frames, of stream 0 as yet."""

    head: bytes
    body: bytes

    @classmethod
    def of(cls, path: str, data: bytes, timeout_s: float, more: Mapping[str, str] | None = None) -> "Request":
        """Make the frames of a call.

        Args:
            path: the method as gRPC names it.
            data: the message.
            timeout_s: what the server is told.
            more: metadata of text.
        """
        timeout = {"grpc-timeout": f"{round(1000 * timeout_s)}m"}
        return cls(headers(path, 0, {**timeout, **(more or {})}), message(data, 0))


@dataclass(slots=True)
class Call:
    """One call on its way; its status is `UNKNOWN` until that has come."""

    due: float
    began: float
    code: int = UNKNOWN
    ended: float = 0.0

    def end(self, code: StatusCode, now: float) -> None:
        """Note its end, with a status of the client's own where none has come."""
        self.code, self.ended = code.value[0] if self.code == UNKNOWN else self.code, now

    def sent(self) -> Sent:
        """Return what became of it."""
        return Sent(self.due, self.began, self.ended, self.code)


@dataclass
class Connection:
    """A connection, the calls on it by stream, and what HTTP/2 lets it send.

    Attributes:
        socket: it, not blocking.
        over: whether it has ended.
    """

    socket: socket.socket
    over: bool = False
    _calls: dict[int, Call] = field(default_factory=dict)
    _held: deque[tuple[Call, Request]] = field(default_factory=deque)  # the server has no room for them yet
    _ended: list[Call] = field(default_factory=list)
    _leaving: bytearray = field(default_factory=bytearray)
    _coming: bytearray = field(default_factory=bytearray)
    _next: int = 1
    _window: int = FIRST_WINDOW
    _streams: int = WIDE

    @classmethod
    def to(cls, address: str) -> "Connection":
        """Open one to host:port, without TLS."""
        # With no table for fields that have been seen, every one comes written out, and none has to be remembered.
        opened = connect(address, {HEADER_TABLE_SIZE: 0, INITIAL_WINDOW_SIZE: WIDE})
        opened.sendall(frame(WINDOW_UPDATE, 0, 0, (WIDE - FIRST_WINDOW).to_bytes(4, "big")))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)
        return cls(opened)

    def begin(self, call: Call, request: Request) -> None:
        """Send a call at the next `flush`, or as soon as the server has room for it."""
        if self.over:
            call.end(StatusCode.UNAVAILABLE, time.perf_counter())
            self._ended.append(call)
        elif self._held or not self._room(request):
            self._held.append((call, request))
        else:
            self._send(call, request)

    def flush(self) -> None:
        """Send what the socket takes."""
        if self._leaving and not self.over:
            try:
                del self._leaving[: self.socket.send(self._leaving)]
            except BlockingIOError:
                pass
            except OSError:
                self.end(StatusCode.UNAVAILABLE)

    def read(self) -> None:
        """Take in what has come."""
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.end(StatusCode.UNAVAILABLE)
            return
        now = time.perf_counter()
        self._coming += data
        coming, place = self._coming, 0
        while len(coming) >= (begin := place + 9):
            end = begin + int.from_bytes(coming[place : place + 3], "big")
            if len(coming) < end:
                break
            stream = int.from_bytes(coming[place + 5 : begin], "big")
            self._take(coming[place + 3], coming[place + 4], stream, bytes(coming[begin:end]), now)
            place = end
        del coming[:place]
        while self._held and self._room(self._held[0][1]):
            self._send(*self._held.popleft())

    def take_ended(self) -> list[Call]:
        """Return the calls that are over since this was last asked."""
        ended, self._ended = self._ended, []
        return ended

    def end(self, code: StatusCode) -> None:
        """Close the connection, and end all calls on it."""
        now, self.over = time.perf_counter(), True
        left = [*self._calls.values(), *(call for call, _ in self._held)]
        self._calls.clear()
        self._held.clear()
        for call in left:
            call.end(code, now)
        self._ended += left
        self.socket.close()

    def _room(self, request: Request) -> bool:
        return len(self._calls) < self._streams and self._window >= len(request.body)

    def _send(self, call: Call, request: Request) -> None:
        number = self._next.to_bytes(4, "big")
        for each in request:  # the number of its stream ends a frame's first nine bytes
            self._leaving += each[:5] + number + each[9:]
        self._window -= len(request.body) - 9
        self._calls[self._next] = call
        self._next += 2

    def _take(self, kind: int, flags: int, stream: int, content: bytes, now: float) -> None:
        call = self._calls.get(stream)
        if call is not None:
            self._take_of(call, kind, content)
            if kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
                del self._calls[stream]
                call.end(StatusCode.INTERNAL, now)
                self._ended.append(call)
        elif kind == SETTINGS and not flags & ACK:
            asked = dict(struct.iter_unpack(">HI", content))
            self._streams = asked.get(MAX_CONCURRENT_STREAMS, self._streams)
            self._leaving += frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._leaving += frame(PING, ACK, 0, content)
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(content, "big")
        elif kind == GOAWAY:
            self._streams = 0

    def _take_of(self, call: Call, kind: int, content: bytes) -> None:
        """Take in a frame of a call's stream: what counts is its status."""
        if call.code != UNKNOWN:
            return
        if kind == HEADERS:
            call.code = _status(content)
        elif kind == RST_STREAM:
            call.code = OF_RESET.get(int.from_bytes(content, "big"), StatusCode.INTERNAL).value[0]


def _status(fields: bytes) -> int:
    """Return the status in a block of header fields; `UNKNOWN` where there is none, as in those before an answer."""
    for name in STATUS:
        place = fields.find(name)
        if place >= 0:
            place += len(name)
            return int(fields[place + 1 : place + 1 + fields[place]])
    return UNKNOWN
