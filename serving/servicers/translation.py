"""TranslationService on the engine."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from beamstep.v1 import translation_pb2
from beamstep.v1.translation_pb2_grpc import TranslationServiceServicer
from serving.request import Decoded
from serving.servicers.backend import Asked, Backend, Context, check_no_deadline_rule
from serving.servicers.messages import decoding_of, reference_of, requested_options, timings_of
from serving.tasks.base import Plan, Source
from serving.tasks.translation import Translation

Request = translation_pb2.TranslateTextRequest | translation_pb2.StreamTranslateTextRequest
Asking = Asked[Translation, Source]


class TranslationServicer(TranslationServiceServicer):
    """Translates."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def TranslateText(
        self, request: translation_pb2.TranslateTextRequest, context: Context
    ) -> translation_pb2.TranslateTextResponse:
        """Translate one text."""
        arrived = time.monotonic()
        asked = self._asked(request)
        return _answer(asked, await self._backend.decode(asked, context), arrived)

    async def StreamTranslateText(
        self, request: translation_pb2.StreamTranslateTextRequest, context: Context
    ) -> AsyncIterator[translation_pb2.StreamTranslateTextResponse]:
        """Translate one text and say what is certain while it goes."""
        arrived = time.monotonic()
        asked = self._asked(request)
        parts = asked.task.parts()
        async with aclosing(self._backend.stream(asked, context)) as stream:
            async for news in stream:
                if isinstance(news, Decoded):
                    answer = _answer(asked, news, arrived)
                    yield translation_pb2.StreamTranslateTextResponse(
                        **parts.last(answer.hypotheses[0].text)._asdict(), answer=answer
                    )
                elif (part := parts.next(news)) is not None:
                    yield translation_pb2.StreamTranslateTextResponse(**part._asdict())

    async def ScoreTarget(
        self, request: translation_pb2.TranslationServiceScoreTargetRequest, context: Context
    ) -> translation_pb2.TranslationServiceScoreTargetResponse:
        """Score a given translation."""
        arrived = time.monotonic()
        check_no_deadline_rule(request)
        models = self._backend.models(Translation, request)
        sources = [task.source(request.text) for task in models.tasks]
        target = models.first.target("target", request.target)
        plan = models.first.plan_score(requested_options(request), sources[0], target)
        asked = Asked.of(models, sources, plan, request)
        decoded = await self._backend.decode(asked, context)
        return translation_pb2.TranslationServiceScoreTargetResponse(
            decoding=decoding_of(asked.task, decoded.hypotheses[0]),
            model=reference_of(asked.task.bundle),
            timings=timings_of(decoded, arrived),
            source_pieces=_source_pieces(asked),
        )

    def _asked(self, request: Request) -> Asking:
        models = self._backend.models(Translation, request)
        sources = [task.source(request.text) for task in models.tasks]
        plan = models.first.plan(requested_options(request), sources[0])
        return Asked.of(models, sources, plan, request, lambda task: _again(task, request))


def _again(task: Translation, request: Request) -> tuple[Source, Plan]:
    """Read a request as another model does."""
    source = task.source(request.text)
    return source, task.plan(requested_options(request), source)


def _answer(asked: Asking, decoded: Decoded, arrived: float) -> translation_pb2.TranslateTextResponse:
    task = asked.task
    hypotheses = [
        translation_pb2.TranslationHypothesis(text=task.text(found), decoding=decoding_of(task, found, asked.seed))
        for found in decoded.hypotheses
    ]
    return translation_pb2.TranslateTextResponse(
        hypotheses=hypotheses,
        model=reference_of(task.bundle),
        timings=timings_of(decoded, arrived),
        source_pieces=_source_pieces(asked),
        deadline_reached=decoded.deadline_reached,
    )


def _source_pieces(asked: Asking) -> list[str]:
    """Return what attention weights run over; none where they were not asked for."""
    return asked.task.source_pieces(asked.source) if asked.plan.options.attention else []
