"""CaptioningService on the engine; images are decoded beside the event loop."""

import asyncio
import time
from concurrent.futures import Executor

from beamstep.v1 import captioning_pb2
from beamstep.v1.captioning_pb2_grpc import CaptioningServiceServicer
from serving.errors import Overloaded
from serving.servicers.backend import Backend, Context
from serving.servicers.messages import decoding_of, reference_of, requested_options, timings_of
from serving.tasks.base import Source
from serving.tasks.captioning import Captioning


class CaptioningServicer(CaptioningServiceServicer):
    """Captions."""

    def __init__(self, backend: Backend, threads: Executor, pending_images: int) -> None:
        """Take images from now on.

        Args:
            backend: the registry and the engine.
            threads: where images are decoded.
            pending_images: how many may be there or wait for it; one more is refused.
        """
        self._backend = backend
        self._threads = threads
        self._most_pending = pending_images
        self._pending = 0

    async def CaptionImage(
        self, request: captioning_pb2.CaptionImageRequest, context: Context
    ) -> captioning_pb2.CaptionImageResponse:
        """Caption one image."""
        arrived = time.monotonic()
        task = self._backend.registry.find(Captioning, request.model, request.model_version)
        source = await self._decode_image(task, request.image)
        options = task.options(requested_options(request), source)
        decoded = await self._backend.decode(task, source, options, context)
        hypotheses = [
            captioning_pb2.CaptionHypothesis(caption=task.text(found), decoding=decoding_of(task, found))
            for found in decoded.hypotheses
        ]
        rows, columns = task.grid
        grid = captioning_pb2.AttentionGrid(row_count=rows, column_count=columns) if options.attention else None
        return captioning_pb2.CaptionImageResponse(
            hypotheses=hypotheses,
            model=reference_of(task.bundle),
            timings=timings_of(decoded, arrived),
            attention_grid=grid,
        )

    async def _decode_image(self, task: Captioning, image: bytes) -> Source:
        if self._pending >= self._most_pending:
            raise Overloaded(f"{self._pending} images are waiting to be decoded; retry later")
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, task.source, image)
        finally:
            self._pending -= 1
