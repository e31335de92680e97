"""One image process as the server sees it: started, asked, ended."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from serving.errors import ImageFault
from serving.images.wire import ANSWER, FAILED, MOST_TEXT, PIXELS, REFUSED, REQUEST, read_refusal
from serving.images.worker import Orders
from serving.tasks.images import ImageLimits

MEMORY_PER_PIXEL: Final = 40
"""Bytes of address space; decoding takes up to 20 (docs/operating/security.md)."""
MEMORY_BESIDES: Final = 512 * 2**20
"""Bytes of address space whatever the pixels: files, and what Pillow opens."""

PIECE: Final = 2**18
"""Bytes of a file that the event loop hands over between two looks at its other work."""
ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""No idle threads that take address space; and the memory of a large image goes back at once (glibc)."""


class Ended(Exception):  # noqa: N818 - named by what it is
    """The process has ended without an answer."""


class ImageProcess:
    """A process that decodes one image at a time; all calls from one event loop."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, limits: ImageLimits) -> Self:
        """Start a process; it takes an image at once, though it answers only when it has imported what it needs.

        A session of its own keeps the terminal's signals from it; it ends with the thread that started it, the event loop's.

        Raises:
            ImageFault: there is no room for one.
        """
        memory = MEMORY_PER_PIXEL * limits.pixels + MEMORY_BESIDES
        orders = Orders(os.getpid(), limits.file_bytes or 0, limits.pixels, memory)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "serving.images.worker", *map(str, orders)),
                stdin=PIPE,
                stdout=PIPE,
                env={**os.environ, **ENVIRONMENT},
                start_new_session=True,
            )
        except OSError as error:
            raise ImageFault(f"no image process can be started: {error}") from error
        return cls(process)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Return its exit status, minus the signal that ended it; None while it runs."""
        return self._process.returncode

    async def decode(self, data: bytes, height: int, width: int) -> NDArray[np.uint8]:
        """Decode a file as `serving.tasks.images.decode_image` does. Whoever stops waiting must end the process.

        Raises:
            InvalidRequest: see there.
            Ended: the process has ended; another one may be asked.
            ImageFault: it failed, or said what it never should.
        """
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None
        assert sink is not None
        try:
            sink.write(REQUEST.pack(height, width, len(data)))
            for place in range(0, len(data), PIECE):
                sink.write(data[place : place + PIECE])
                await sink.drain()
            kind, length = ANSWER.unpack(await source.readexactly(ANSWER.size))
            if length > max(MOST_TEXT, height * width * 3):
                raise ImageFault(f"image process {self.pid} answers with {length:,} bytes")
            answer = await source.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise Ended from error
        if kind == PIXELS and length == height * width * 3:
            return np.frombuffer(answer, np.uint8).reshape(height, width, 3)
        if kind == REFUSED:
            try:
                refusal = read_refusal(answer)
            except ValueError as error:
                raise ImageFault(f"image process {self.pid} refuses without a reason") from error
            raise refusal
        said = answer.decode(errors="replace") if kind == FAILED else f"{length:,} bytes of kind {kind!r}"
        raise ImageFault(f"image process {self.pid} failed: {said}")

    def kill(self) -> None:
        """End it, whatever it does; `ended` is to follow."""
        if self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # Process.kill would reap it, and asyncio complain that somebody did

    async def ended(self) -> None:
        """Wait until nothing of it is left."""
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None
        assert sink is not None
        sink.close()
        while await source.read(MOST_TEXT):
            pass
        with suppress(ConnectionError):
            await sink.wait_closed()
        await self._process.wait()
