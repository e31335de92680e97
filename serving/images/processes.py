"""A few image processes: started when one is needed, each asked for one image at a time, replaced when they end."""

import asyncio
import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.errors import Draining, ImageFault, InvalidRequest
from serving.images.process import Ended, ImageProcess
from serving.tasks.images import PIXEL_LIMIT, ImageLimits

logger = logging.getLogger(__name__)

TIME_LIMIT_S: Final = 30.0
"""For one image of up to `PIXEL_LIMIT` pixels, by the clock; where more are allowed, more in proportion."""


class ImageProcesses:
    """Decodes images in processes; all calls from one event loop."""

    def __init__(self, count: int, limits: ImageLimits, time_limit_s: float | None = None) -> None:
        """Start nothing yet.

        Args:
            count: how many there may be; from 1.
            limits: how large an image may be.
            time_limit_s: how long one image may take, the start of a process included; None chooses by `TIME_LIMIT_S`.
        """
        self.count = count
        self._limits = limits
        self._time_limit_s = time_limit_s or TIME_LIMIT_S * max(1.0, limits.pixels / PIXEL_LIMIT)
        self._places = asyncio.Semaphore(count)
        self._idle: list[ImageProcess] = []
        self._busy: set[ImageProcess] = set()
        self._closed = False
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """Return those that wait for an image."""
        return [process.pid for process in self._idle]

    async def decode(self, data: bytes, height: int, width: int) -> NDArray[np.uint8]:
        """Decode a file as `serving.tasks.images.decode_image` does, when a process is free.

        A process that ends meanwhile is replaced, and the file tried once more. One that takes too long, or whose caller goes
        away, is killed.

        Raises:
            InvalidRequest: see there; or it takes too long.
            ImageFault: the processes end, or cannot be had.
            Draining: `close` was called.
        """
        async with self._places:
            try:
                return await self._asked(self._take() or await self._start(), data, height, width)
            except Ended:
                pass
            try:  # a fresh one: what ended the first may have been anybody, and long ago
                return await self._asked(await self._start(), data, height, width)
            except Ended:
                raise ImageFault(f"two image processes ended at a file of {len(data):,} bytes") from None

    async def close(self) -> None:
        """End them all, whatever they do; an image that is being decoded is given up."""
        self._closed = True
        for process in self._busy:
            process.kill()
        for _ in range(self.count):  # whoever is inside or waits leaves
            await self._places.acquire()
        for _ in range(self.count):
            self._places.release()
        while self._idle:
            self._end(self._idle.pop())
        while self._ending:
            await asyncio.gather(*self._ending)

    async def _start(self) -> ImageProcess:
        if not self._closed:
            process = await ImageProcess.start(self._limits)
            if not self._closed:
                return process
            self._end(process)
        raise Draining("the server is shutting down")

    def _take(self) -> ImageProcess | None:
        """Return a process that waits, if one does; those that ended while they did are told of."""
        while self._idle:
            process = self._idle.pop()
            if process.status is None:
                return process
            logger.warning(
                "image process %d ended with status %d while it had nothing to do", process.pid, process.status
            )
            self._end(process)
        return None

    async def _asked(self, process: ImageProcess, data: bytes, height: int, width: int) -> NDArray[np.uint8]:
        """Ask a process that nobody else knows of; it waits for the next image after an answer, and is ended otherwise."""
        self._busy.add(process)
        try:
            async with asyncio.timeout(self._time_limit_s):
                pixels = await process.decode(data, height, width)
        except InvalidRequest:
            self._idle.append(process)
            raise
        except TimeoutError:
            self._end(process)
            logger.warning("image process %d was killed after %g s at a file", process.pid, self._time_limit_s)
            longest = f"a file that takes more than {self._time_limit_s:g} s to decode"
            raise InvalidRequest("image", longest, "fewer pixels, or a JPEG file") from None
        except Ended:
            ending = self._end(process)
            await asyncio.wait({ending})
            if not self._closed:
                told = (process.pid, process.status, f"{len(data):,}")
                logger.error("image process %d ended with status %s at a file of %s bytes", *told)  # noqa: TRY400
            raise
        except BaseException:
            self._end(process)
            raise
        finally:
            self._busy.discard(process)
        self._idle.append(process)
        return pixels

    def _end(self, process: ImageProcess) -> asyncio.Task[None]:
        """Kill a process at once, and see it off beside the caller, who may be cancelled."""
        process.kill()
        ending = asyncio.ensure_future(process.ended())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending
