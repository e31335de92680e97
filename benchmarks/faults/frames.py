"""HTTP/2 by hand: for clients that do not behave as gRPC's own would, and for those that must cost nothing."""

import socket
import struct
from collections.abc import Mapping
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
"""Settings: how many bytes of fields the other side may refer back to, how many calls there may be at a time, and how much of each
answer may be sent unasked."""


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """Return one frame; RFC 9113, section 4.1."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def settings(values: Mapping[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def headers(path: str, stream: int, more: Mapping[str, str] | None = None) -> bytes:
    """Return the HEADERS frame of a gRPC call, every field a literal that is not indexed; RFC 7541, section 6.2.2."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        **(more or {}),
    }
    block = b"".join(b"\0" + _short(name) + _short(value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block)


def message(data: bytes, stream: int, *, compressed: bool = False, length: int | None = None) -> bytes:
    """Return the DATA frame of a whole gRPC message that ends the request; `length` says another one than it has."""
    prefix = struct.pack(">BI", compressed, len(data) if length is None else length)
    return frame(DATA, END_STREAM, stream, prefix + data)


def connect(address: str, values: Mapping[int, int] | None = None) -> socket.socket:
    """Open a connection as far as both sides' settings."""
    host, _, port = address.rpartition(":")
    opened = socket.create_connection((host, int(port)), timeout=60)
    opened.sendall(PREFACE + settings(values or {}))
    return opened


def _short(text: str) -> bytes:
    assert len(text) < 127, "longer lengths take more than a byte"
    return bytes([len(text)]) + text.encode("ascii")
