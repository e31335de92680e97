"""CaptioningService on the engine; images are decoded beside the event loop."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Final

from beamstep.v1 import captioning_pb2
from beamstep.v1.captioning_pb2_grpc import CaptioningServiceServicer
from serving.errors import Overloaded
from serving.request import Decoded
from serving.servicers.backend import Asked, Backend, Context, Models, check_no_deadline_rule
from serving.servicers.messages import decoding_of, reference_of, requested_options, timings_of
from serving.tasks.base import Plan, Source
from serving.tasks.captioning import Captioning
from serving.tasks.images import DEFAULT_LIMITS, ImageLimits

Request = captioning_pb2.CaptionImageRequest | captioning_pb2.StreamCaptionImageRequest
Asking = Asked[Captioning, Source]
IMAGE_S: Final = 0.05
"""What decoding an image is reckoned to take, for callers that are told when to try again."""


class CaptioningServicer(CaptioningServiceServicer):
    """Captions."""

    def __init__(
        self, backend: Backend, threads: Executor, pending_images: int, limits: ImageLimits = DEFAULT_LIMITS
    ) -> None:
        """Take images from now on.

        Args:
            backend: the registry and the engine.
            threads: where images are decoded.
            pending_images: how many may be there or wait for it; one more is refused.
            limits: how large they may be.
        """
        self._backend = backend
        self._threads = threads
        self._most_pending = pending_images
        self._limits = limits
        self._pending = 0

    async def CaptionImage(
        self, request: captioning_pb2.CaptionImageRequest, context: Context
    ) -> captioning_pb2.CaptionImageResponse:
        """Caption one image."""
        arrived = time.monotonic()
        asked = await self._asked(request)
        return _answer(asked, await self._backend.decode(asked, context), arrived)

    async def StreamCaptionImage(
        self, request: captioning_pb2.StreamCaptionImageRequest, context: Context
    ) -> AsyncIterator[captioning_pb2.StreamCaptionImageResponse]:
        """Caption one image and say what is certain while it goes."""
        arrived = time.monotonic()
        asked = await self._asked(request)
        parts = asked.task.parts()
        async with aclosing(self._backend.stream(asked, context)) as stream:
            async for news in stream:
                if isinstance(news, Decoded):
                    answer = _answer(asked, news, arrived)
                    yield captioning_pb2.StreamCaptionImageResponse(
                        **parts.last(answer.hypotheses[0].caption)._asdict(), answer=answer
                    )
                elif (part := parts.next(news)) is not None:
                    yield captioning_pb2.StreamCaptionImageResponse(**part._asdict())

    async def ScoreTarget(
        self, request: captioning_pb2.CaptioningServiceScoreTargetRequest, context: Context
    ) -> captioning_pb2.CaptioningServiceScoreTargetResponse:
        """Score a given caption."""
        arrived = time.monotonic()
        check_no_deadline_rule(request)
        models = self._backend.models(Captioning, request)
        target = models.first.target("target", request.target)
        sources = await self._decode_image(models, request.image)
        plan = models.first.plan_score(requested_options(request), sources[0], target)
        asked = Asked.of(models, sources, plan, request)
        decoded = await self._backend.decode(asked, context)
        return captioning_pb2.CaptioningServiceScoreTargetResponse(
            decoding=decoding_of(asked.task, decoded.hypotheses[0]),
            model=reference_of(asked.task.bundle),
            timings=timings_of(decoded, arrived),
            attention_grid=_grid(asked),
        )

    async def _asked(self, request: Request) -> Asking:
        models = self._backend.models(Captioning, request)
        sources = await self._decode_image(models, request.image)
        plan = models.first.plan(requested_options(request), sources[0])
        return Asked.of(models, sources, plan, request, lambda task: _again(task, request))

    async def _decode_image(self, models: Models[Captioning], image: bytes) -> list[Source]:
        """Decode an image beside the event loop, as each model reads it."""
        if self._pending >= self._most_pending:
            raise Overloaded(f"{self._pending} images are waiting to be decoded; retry later", IMAGE_S * self._pending)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: [task.source(image, self._limits) for task in models.tasks]
            )
        finally:
            self._pending -= 1


def _again(task: Captioning, request: Request) -> tuple[Source, Plan]:
    """Read a request as another model does."""
    source = task.source(request.image)
    return source, task.plan(requested_options(request), source)


def _answer(asked: Asking, decoded: Decoded, arrived: float) -> captioning_pb2.CaptionImageResponse:
    task = asked.task
    hypotheses = [
        captioning_pb2.CaptionHypothesis(caption=task.text(found), decoding=decoding_of(task, found, asked.seed))
        for found in decoded.hypotheses
    ]
    return captioning_pb2.CaptionImageResponse(
        hypotheses=hypotheses,
        model=reference_of(task.bundle),
        timings=timings_of(decoded, arrived),
        attention_grid=_grid(asked),
        deadline_reached=decoded.deadline_reached,
    )


def _grid(asked: Asking) -> captioning_pb2.AttentionGrid | None:
    """Return what attention weights run over; None where they were not asked for."""
    rows, columns = asked.task.grid
    asks = asked.plan.options.attention
    return captioning_pb2.AttentionGrid(row_count=rows, column_count=columns) if asks else None
