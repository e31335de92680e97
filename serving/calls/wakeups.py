"""Lets one wake-up of the event loop stand for all that gRPC's core has to tell.

A thread of grpc.aio writes a byte into a socket for every event of the core, four or five of which make a call. The loop's reader
takes one byte and then all events that are there, so that every other byte costs a round of the loop for nothing.

The reader is grpc.aio's own and no part of its interface; where it is not as it was in 1.85, it is left as it is.
"""

import array
import asyncio
import fcntl
import socket
import termios
from collections.abc import Callable
from typing import Any, Final

POLLER: Final = "PollerCompletionQueue"
"""The class whose method the reader is."""


def gather_wakeups(loop: asyncio.AbstractEventLoop) -> None:
    """Have grpc.aio's reader take all bytes that are there; for a loop that no server or channel of grpc.aio was made on yet."""
    add_reader = loop.add_reader

    def add(reader: Any, callback: Callable[..., Any], *arguments: Any) -> None:
        """Watch a socket as the loop does."""
        add_reader(reader, _gathered(reader, callback) if _is_grpcs(reader, callback) else callback, *arguments)

    vars(loop)["add_reader"] = add


def _is_grpcs(reader: Any, callback: Callable[..., Any]) -> bool:
    method = getattr(callback, "func", callback)  # it is a functools.partial
    return isinstance(reader, socket.socket) and type(getattr(method, "__self__", None)).__name__ == POLLER


def _gathered(reader: socket.socket, take: Callable[[], None]) -> Callable[[], None]:
    waiting = array.array("i", [0])

    def gather() -> None:
        """Take the bytes of events that are there already, but one, and then all events."""
        fcntl.ioctl(reader, termios.FIONREAD, waiting)
        if waiting[0] > 1:
            reader.recv(waiting[0] - 1)
        take()

    return gather
