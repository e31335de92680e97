"""TranslationService on the engine."""

import time

from beamstep.v1 import translation_pb2
from beamstep.v1.translation_pb2_grpc import TranslationServiceServicer
from serving.servicers.backend import Backend, Context
from serving.servicers.messages import decoding_of, reference_of, requested_options, timings_of
from serving.tasks.translation import Translation


class TranslationServicer(TranslationServiceServicer):
    """Translates."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def TranslateText(
        self, request: translation_pb2.TranslateTextRequest, context: Context
    ) -> translation_pb2.TranslateTextResponse:
        """Translate one text."""
        arrived = time.monotonic()
        task = self._backend.registry.find(Translation, request.model, request.model_version)
        source = task.source(request.text)
        options = task.options(requested_options(request), source)
        decoded = await self._backend.decode(task, source, options, context)
        hypotheses = [
            translation_pb2.TranslationHypothesis(text=task.text(found), decoding=decoding_of(task, found))
            for found in decoded.hypotheses
        ]
        return translation_pb2.TranslateTextResponse(
            hypotheses=hypotheses,
            model=reference_of(task.bundle),
            timings=timings_of(decoded, arrived),
            source_pieces=task.source_pieces(source) if options.attention else None,
        )
