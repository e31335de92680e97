"""What every answer shares, between the engine's words and the protos'."""

import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from beamstep.v1 import decoding_pb2
from serving.bundle import Bundle
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.options import LengthNormalization
from serving.errors import InvalidRequest
from serving.request import CacheHit, Decoded
from serving.tasks.base import Task
from serving.tasks.options import MOST_GIVEN, RequestedOptions, RequestedSampling, check_count

LENGTH_NORMALIZATIONS: Final = {
    decoding_pb2.LENGTH_NORMALIZATION_UNSPECIFIED: LengthNormalization.GNMT,
    decoding_pb2.LENGTH_NORMALIZATION_GNMT: LengthNormalization.GNMT,
    decoding_pb2.LENGTH_NORMALIZATION_PLAIN: LengthNormalization.PLAIN,
}
FINISH_REASONS: Final = {
    FinishReason.END_OF_SEQUENCE: decoding_pb2.FINISH_REASON_END_OF_SEQUENCE,
    FinishReason.MAX_LENGTH: decoding_pb2.FINISH_REASON_MAX_LENGTH,
    FinishReason.DEADLINE: decoding_pb2.FINISH_REASON_DEADLINE,
    FinishReason.DEAD_END: decoding_pb2.FINISH_REASON_DEAD_END,
}

CACHE_HITS: Final = {
    CacheHit.NONE: decoding_pb2.CACHE_HIT_NONE,
    CacheHit.MEMORY: decoding_pb2.CACHE_HIT_MEMORY,
    CacheHit.ANSWER: decoding_pb2.CACHE_HIT_ANSWER,
}


class HasOptions(Protocol):
    """Any request with decoding options."""

    @property
    def options(self) -> decoding_pb2.DecodingOptions:
        """How to search."""


def requested_options(request: HasOptions) -> RequestedOptions:
    """Return a request's options; a field that is unset becomes None.

    Raises:
        InvalidRequest: an enum has a value that this version does not know, or a list has too many entries to be unpacked.
    """
    options = request.options
    for name in MOST_GIVEN:
        check_count(name, len(getattr(options, name)))  # a message has room for 15 million
    if options.length_normalization not in LENGTH_NORMALIZATIONS:
        allowed = ", ".join(decoding_pb2.LengthNormalization.keys()[1:])
        raise InvalidRequest("options.length_normalization", str(options.length_normalization), allowed)
    return RequestedOptions(
        beam_size=_given(options, "beam_size"),
        hypothesis_count=_given(options, "hypothesis_count"),
        length_penalty=_given(options, "length_penalty"),
        min_length=_given(options, "min_length"),
        max_length=_given(options, "max_length"),
        attention=options.include_attention,
        length_normalization=LENGTH_NORMALIZATIONS[options.length_normalization],
        coverage_penalty=_given(options, "coverage_penalty"),
        patience=_given(options, "patience"),
        repetition_penalty=_given(options, "repetition_penalty"),
        no_repeat_ngram_size=_given(options, "no_repeat_ngram_size"),
        suppressed_tokens=tuple(options.suppressed_tokens),
        suppressed_phrases=tuple(options.suppressed_phrases),
        required_phrases=tuple(options.required_phrases),
        target_prefix=options.target_prefix,
        target_prefix_tokens=tuple(options.target_prefix_tokens),
        alternatives=options.alternatives,
        sampling=_sampling(options.sampling) if options.HasField("sampling") else None,
    )


def decoding_of(task: Task, hypothesis: Hypothesis, seed: int | None = None) -> decoding_pb2.Decoding:
    """Return what the search says of a hypothesis; `seed` is what it was drawn with, if it was."""
    decoding = decoding_pb2.Decoding(
        score=hypothesis.score,
        log_prob=hypothesis.log_prob,
        finish_reason=FINISH_REASONS[hypothesis.finish_reason],
        seed=seed,
    )
    pieces = task.pieces(hypothesis.tokens)
    add = decoding.tokens.add  # in place: a list of messages would be copied one by one
    for token, piece, log_prob in zip(hypothesis.tokens, pieces, hypothesis.token_log_probs, strict=True):
        add(id=token, piece=piece, log_prob=log_prob)
    if hypothesis.attention is not None:
        for written, weights in zip(decoding.tokens, hypothesis.attention.tolist(), strict=True):
            written.attention.extend(weights)
    return decoding


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
        cache_hit=CACHE_HITS[decoded.cache_hit],
        step_time=_duration(decoded.spent.step_s),
        search_time=_duration(decoded.spent.search_s),
    )


def slowest(every: Sequence[Decoded]) -> Decoded:
    """Return the answer, of several searched for at once, that came last: its timings are those of all."""
    return max(every, key=lambda decoded: decoded.queue_s + decoded.encode_s + decoded.decode_s)


def _sampling(sampling: decoding_pb2.Sampling) -> RequestedSampling:
    names = ("temperature", "top_k", "top_p", "seed")
    return RequestedSampling(**{name: _given(sampling, name) for name in names})


def _given(message: Message, field: str) -> Any:
    """Return a field that may be unset; None where it is."""
    return getattr(message, field) if message.HasField(field) else None


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
