"""The load's own HTTP/2: what it sends, and how it reads the end of a call."""

import socket

import pytest
from grpc import StatusCode

from benchmarks.faults import frames
from benchmarks.faults.connection import Call, Connection, Request

PLAIN = b"\x00\x0bgrpc-status\x01"
HUFFMAN = b"\x00\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x01"
REQUEST = Request.of("/a.Service/Method", b"hello", 5)


@pytest.fixture
def ends():
    """A connection, and the server's end of it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)
    yield Connection(ours), theirs
    ours.close()
    theirs.close()


def status(code: int, stream: int, name: bytes = PLAIN) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, name + str(code).encode())


def ended(connection: Connection) -> list[int]:
    connection.read()
    return [call.code for call in connection.take_ended()]


def test_calls_have_streams_of_their_own(ends):
    connection, theirs = ends
    for _ in range(2):
        connection.begin(Call(0, 0), REQUEST)
    connection.flush()
    sent = theirs.recv(2**16)
    once = [
        frames.headers("/a.Service/Method", stream, {"grpc-timeout": "5000m"}) + frames.message(b"hello", stream)
        for stream in (1, 3)
    ]
    assert sent == b"".join(once)


@pytest.mark.parametrize("name", [PLAIN, HUFFMAN])
def test_the_status_is_that_of_the_trailers(ends, name):
    connection, theirs = ends
    for _ in range(3):
        connection.begin(Call(0, 0), REQUEST)
    first = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x88") + frames.frame(
        frames.DATA, 0, 1, b"\0\0\0\0\0"
    )
    whole = first + status(0, 1, name) + status(8, 3, name)
    theirs.sendall(whole[:-5])
    assert ended(connection) == [0], "the rest has not come yet"
    theirs.sendall(whole[-5:])
    assert ended(connection) == [8]


@pytest.mark.parametrize(
    ("reason", "code"), [(8, StatusCode.CANCELLED), (7, StatusCode.UNAVAILABLE), (2, StatusCode.INTERNAL)]
)
def test_a_stream_that_is_reset_has_the_status_that_grpc_gives_it(ends, reason, code):
    connection, theirs = ends
    connection.begin(Call(0, 0), REQUEST)
    theirs.sendall(frames.frame(frames.RST_STREAM, 0, 1, reason.to_bytes(4, "big")))
    assert ended(connection) == [code.value[0]]


def test_a_call_for_which_the_server_has_no_room_waits(ends):
    connection, theirs = ends
    theirs.sendall(frames.settings({frames.MAX_CONCURRENT_STREAMS: 1}))
    assert ended(connection) == []
    for _ in range(2):
        connection.begin(Call(0, 0), REQUEST)
    connection.flush()
    acknowledged = frames.frame(frames.SETTINGS, frames.ACK, 0, b"")
    one = len(REQUEST.head) + len(REQUEST.body)
    assert len(theirs.recv(2**16)) == len(acknowledged) + one
    theirs.sendall(status(0, 1))
    assert ended(connection) == [0]
    connection.flush()
    assert len(theirs.recv(2**16)) == one


def test_a_lost_connection_ends_its_calls_and_those_begun_later(ends):
    connection, theirs = ends
    connection.begin(Call(0, 0), REQUEST)
    theirs.close()
    assert ended(connection) == [StatusCode.UNAVAILABLE.value[0]]
    connection.begin(Call(0, 0), REQUEST)
    assert [call.code for call in connection.take_ended()] == [StatusCode.UNAVAILABLE.value[0]]
