"""The door that images go through: it refuses one more than may wait, and chooses between threads and processes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.errors import Overloaded
from serving.images.processes import ImageProcesses
from serving.tasks.image_files import claimed_pixels
from serving.tasks.images import DEFAULT_LIMITS, ImageLimits, decode_image

IMAGE_S: Final = 0.05
"""What decoding an image in a thread is reckoned to take, for callers that are told when to try again."""
LONG_IMAGE_S: Final = 1.0
"""The same in a process."""
LONG_PIXELS: Final = 2_000_000
"""PNG and WebP of more are decoded in a process, if there are any: Pillow holds the interpreter for some 5 ms a million pixels."""


class ImageDecoder:
    """Decodes images beside the event loop; all calls from one event loop."""

    def __init__(self, threads: int, processes: int, pending: int, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        """Start nothing yet.

        Args:
            threads: how many images are decoded in threads at a time; from 1.
            processes: how many in processes; 0 leaves all to the threads.
            pending: how many may be inside or wait for it; one more is refused. Half of that of those that are long to decode.
            limits: how large they may be.
        """
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="images")
        self.processes = ImageProcesses(processes, limits) if processes else None
        self._most_pending = pending
        self._limits = limits
        self._pending = 0
        self._pending_long = 0

    async def decode(self, data: bytes, height: int, width: int) -> NDArray[np.uint8]:
        """Decode a file as `serving.tasks.images.decode_image` does.

        Raises:
            InvalidRequest: see there.
            Overloaded: too many are waiting.
            ImageFault: the image processes end, or cannot be had.
        """
        if self.processes is not None and is_long(data, self._limits):
            return await self._decode_long(self.processes, data, height, width)
        self._check(self._pending + self._pending_long, self._most_pending, IMAGE_S)
        self._pending += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, decode_image, data, height, width, self._limits)
        finally:
            self._pending -= 1

    async def close(self) -> None:
        """Let go of threads and processes; nobody may be waiting."""
        if self.processes is not None:
            await self.processes.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _decode_long(self, processes: ImageProcesses, data: bytes, height: int, width: int) -> NDArray[np.uint8]:
        self._check(self._pending + self._pending_long, self._most_pending, IMAGE_S)
        self._check(self._pending_long, max(1, self._most_pending // 2), LONG_IMAGE_S / processes.count)
        self._pending_long += 1
        try:
            return await processes.decode(data, height, width)
        finally:
            self._pending_long -= 1

    def _check(self, pending: int, most: int, each_s: float) -> None:
        if pending >= most:
            raise Overloaded(f"{pending} images are waiting to be decoded; retry later", each_s * pending)


def is_long(data: bytes, limits: ImageLimits) -> bool:
    """Say whether decoding a file would keep other threads waiting; looks at its first bytes alone.

    One that is too large is refused before it is decoded, and not long.
    """
    if limits.file_bytes is not None and len(data) > limits.file_bytes:
        return False
    pixels = claimed_pixels(data)
    return pixels is None or LONG_PIXELS < pixels <= limits.pixels
