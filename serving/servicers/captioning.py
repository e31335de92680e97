"""CaptioningService on the engine; images are decoded beside the event loop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import numpy as np
from numpy.typing import NDArray

from beamstep.v1 import captioning_pb2
from beamstep.v1.captioning_pb2_grpc import CaptioningServiceServicer
from serving.images.decoder import ImageDecoder
from serving.request import Decoded
from serving.servicers.backend import Asked, Backend, Context, Models, check_no_deadline_rule
from serving.servicers.messages import decoding_of, reference_of, requested_options, timings_of
from serving.tasks.base import Plan, Source
from serving.tasks.captioning import Captioning

Request = captioning_pb2.CaptionImageRequest | captioning_pb2.StreamCaptionImageRequest
Asking = Asked[Captioning, Source]
Pixels = dict[tuple[int, int], NDArray[np.uint8]]
"""An image in each size that a model reads."""


class CaptioningServicer(CaptioningServiceServicer):
    """Captions."""

    def __init__(self, backend: Backend, images: ImageDecoder) -> None:
        """Take images from now on.

        Args:
            backend: the registry and the engine.
            images: decodes them.
        """
        self._backend = backend
        self._images = images

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
        sources = _sources(models, await self._pixels(models, request.image))
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
        pixels = await self._pixels(models, request.image)
        sources = _sources(models, pixels)
        plan = models.first.plan(requested_options(request), sources[0])
        again = partial(self._again, asyncio.get_running_loop(), request, pixels)
        return Asked.of(models, sources, plan, request, again)

    async def _pixels(self, models: Models[Captioning], image: bytes) -> Pixels:
        """Decode an image beside the event loop in every size that one of the models reads."""
        sizes = dict.fromkeys(task.image_size for task in models.tasks)
        return {size: await self._images.decode(image, *size) for size in sizes}

    def _again(
        self, loop: asyncio.AbstractEventLoop, request: Request, pixels: Pixels, task: Captioning
    ) -> tuple[Source, Plan]:
        """Read a request as another model does; called on a thread of its own."""
        size = task.image_size
        if size not in pixels:
            decoding = asyncio.run_coroutine_threadsafe(self._images.decode(request.image, *size), loop)
            pixels = {size: decoding.result()}
        source = task.source_of(pixels[size])
        return source, task.plan(requested_options(request), source)


def _sources(models: Models[Captioning], pixels: Pixels) -> list[Source]:
    return [task.source_of(pixels[task.image_size]) for task in models.tasks]


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
