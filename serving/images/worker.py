"""What runs in an image process: one file after the other from stdin to pixels on stdout, until stdin ends.

Started as `python -P -m serving.images.worker` with the numbers of `Orders`, so that nothing of the server is in it: neither
ONNX Runtime nor gRPC, and no socket, file or lock of the server's.
"""

import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from serving.errors import InvalidRequest
from serving.images.wire import ANSWER, FAILED, MOST_TEXT, PIXELS, REFUSED, REQUEST, refusal_bytes
from serving.tasks.images import ImageLimits, decode_image

PR_SET_PDEATHSIG = 1


class Orders(NamedTuple):
    """What a process is told at its start.

    Attributes:
        parent: the process it is to end with.
        file_bytes: of the largest file; 0 leaves it to the limit of messages.
        pixels: most pixels of an image.
        memory_bytes: address space that decoding may take, beyond what the process has when it begins.
    """

    parent: int
    file_bytes: int
    pixels: int
    memory_bytes: int

    @property
    def limits(self) -> ImageLimits:
        """Return how large an image may be."""
        return ImageLimits(self.file_bytes or None, self.pixels)


def work(orders: Orders, source: BinaryIO, sink: BinaryIO) -> None:
    """Decode what comes from `source` into `sink` until it ends."""
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        height, width, length = REQUEST.unpack(head)
        kind, answer = _answer(source.read(length), height, width, orders.limits)
        sink.write(ANSWER.pack(kind, len(answer)))
        sink.write(answer)
        sink.flush()


def _answer(data: bytes, height: int, width: int, limits: ImageLimits) -> tuple[bytes, bytes]:
    try:
        return PIXELS, decode_image(data, height, width, limits).tobytes()
    except InvalidRequest as error:
        return REFUSED, refusal_bytes(error)
    except Exception:  # MemoryError, say; the server logs it
        return FAILED, traceback.format_exc().encode()[-MOST_TEXT:]


def _bind_to(parent: int) -> None:
    """End when the server does, however it ends, and not before: a signal to all its processes is the server's to act on."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        raise SystemExit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _bound_memory(more: int) -> None:
    """Let the address space grow by `more` bytes from here, and go first when the machine's memory runs out.

    A process that crashes writes no file of people's pictures.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + more
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def main(arguments: Sequence[str]) -> None:
    """Serve stdin and stdout."""
    orders = Orders(*map(int, arguments))
    _bind_to(orders.parent)
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    _bound_memory(orders.memory_bytes)
    with sink, suppress(BrokenPipeError):
        work(orders, sys.stdin.buffer, sink)


if __name__ == "__main__":
    main(sys.argv[1:])
