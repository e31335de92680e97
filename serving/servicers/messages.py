"""What every answer shares, between the engine's words and the protos'."""

import time
from collections.abc import Iterator
from typing import Final, Protocol

from google.protobuf.duration_pb2 import Duration

from beamstep.v1 import decoding_pb2
from serving.bundle import Bundle
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.engine import Decoded
from serving.tasks.base import Task
from serving.tasks.options import RequestedOptions

FINISH_REASONS: Final = {
    FinishReason.END_OF_SEQUENCE: decoding_pb2.FINISH_REASON_END_OF_SEQUENCE,
    FinishReason.MAX_LENGTH: decoding_pb2.FINISH_REASON_MAX_LENGTH,
    FinishReason.DEAD_END: decoding_pb2.FINISH_REASON_DEAD_END,
}


class HasOptions(Protocol):
    """Any request with decoding options."""

    @property
    def options(self) -> decoding_pb2.DecodingOptions:
        """How to search."""


def requested_options(request: HasOptions) -> RequestedOptions:
    """Return a request's options; a field that is unset becomes None."""
    options = request.options
    return RequestedOptions(
        beam_size=options.beam_size if options.HasField("beam_size") else None,
        hypothesis_count=options.hypothesis_count if options.HasField("hypothesis_count") else None,
        length_penalty=options.length_penalty if options.HasField("length_penalty") else None,
        min_length=options.min_length if options.HasField("min_length") else None,
        max_length=options.max_length if options.HasField("max_length") else None,
        attention=options.include_attention,
    )


def decoding_of(task: Task, hypothesis: Hypothesis) -> decoding_pb2.Decoding:
    """Return what the search says of a hypothesis."""
    return decoding_pb2.Decoding(
        score=hypothesis.score,
        log_prob=hypothesis.log_prob,
        tokens=_tokens(task, hypothesis),
        finish_reason=FINISH_REASONS[hypothesis.finish_reason],
    )


def reference_of(bundle: Bundle) -> decoding_pb2.ModelReference:
    """Return a bundle's name and version."""
    return decoding_pb2.ModelReference(name=bundle.manifest.name, version=bundle.manifest.version)


def timings_of(decoded: Decoded, arrived: float) -> decoding_pb2.Timings:
    """Return where a request's time went, up to now; `arrived` is on time.monotonic's clock."""
    return decoding_pb2.Timings(
        queue_time=_duration(decoded.queue_s),
        encode_time=_duration(decoded.encode_s),
        decode_time=_duration(decoded.decode_s),
        total_time=_duration(time.monotonic() - arrived),
        step_count=decoded.step_count,
    )


def _tokens(task: Task, hypothesis: Hypothesis) -> Iterator[decoding_pb2.Token]:
    pieces = task.pieces(hypothesis.tokens)
    for position, (token, piece, log_prob) in enumerate(
        zip(hypothesis.tokens, pieces, hypothesis.token_log_probs, strict=True)
    ):
        weights = [] if hypothesis.attention is None else hypothesis.attention[position].tolist()
        yield decoding_pb2.Token(id=token, piece=piece, log_prob=log_prob, attention=weights)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
