"""Whole answers: decoding as serving does it, without an engine."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from export.certification.sources import Source
from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.penalties import length_penalty
from serving.decoding.search import decode
from serving.decoding.step import Model
from serving.manifest import Manifest
from serving.tasks.options import NOTHING, RequestedOptions, Wording, resolve_options
from serving.tasks.pointing import constraint_of

BATCH_SIZE: Final = 16
"""Sources of a mixed batch."""


def best_answers(
    manifest: Manifest, model: Model, sources: Sequence[Source], beam_size: int, batch_size: int = BATCH_SIZE
) -> list[Hypothesis]:
    """Return the best hypothesis of each source, `batch_size` of them decoded together."""
    best = []
    for start in range(0, len(sources), batch_size):
        some = sources[start : start + batch_size]
        options = [decoding_options(manifest, source, RequestedOptions(beam_size=beam_size)) for source in some]
        constraints = [_constraint(manifest, source) for source in some]
        best += [found[0] for found in decode(model, some, options, constraints)]
    return best


def scores_of(
    manifest: Manifest, model: Model, sources: Sequence[Source], answers: Sequence[Sequence[int]]
) -> list[float]:
    """Return what the model's own search would have scored each answer with, given as tokens with their `eos`."""
    scores = []
    eos = manifest.vocabulary.eos
    for start in range(0, len(sources), BATCH_SIZE):
        some, given = sources[start : start + BATCH_SIZE], answers[start : start + BATCH_SIZE]
        wordings = [Wording(tuple(token for token in tokens if token != eos), scored=True) for tokens in given]
        options = [
            decoding_options(manifest, source, RequestedOptions(), wording)
            for source, wording in zip(some, wordings, strict=True)
        ]
        found = decode(model, some, options)
        scores += [_score(best[0], len(tokens), manifest) for best, tokens in zip(found, given, strict=True)]
    return scores


def source_length(source: Source) -> int:
    """Return S of one source; 0 for an image, whose answers' length does not depend on it."""
    ragged = source.get("source_tokens", source.get("points"))
    return 0 if ragged is None else len(ragged)


def decoding_options(
    manifest: Manifest, source: Source, requested: RequestedOptions, wording: Wording = NOTHING
) -> DecodingOptions:
    """Return what serving makes of a request."""
    length, vocabulary = source_length(source), manifest.vocabulary
    size = vocabulary.size if vocabulary.first_position is None else vocabulary.first_position + length
    assert size is not None
    return resolve_options(requested, manifest, length, size, wording)


def _constraint(manifest: Manifest, source: Source) -> Constraint | None:
    """Return what keeps a pointing answer well-formed in serving; None for text."""
    points = source.get("points")
    return None if points is None else constraint_of(manifest, points.astype(np.float64, copy=False))


def _score(scored: Hypothesis, length: int, manifest: Manifest) -> float:
    """Return the score of the first `length` tokens: an answer cut at the maximum length has no `eos`, and a scored one always."""
    log_prob = sum(scored.token_log_probs[:length])
    return log_prob / length_penalty(length, manifest.defaults.length_penalty)
