"""Offline decoding: many sources in one batch, from the encoder to the hypotheses; what parity, evaluation and tests run.

decode(model, inputs, options) -> one tuple of hypotheses a source, best first
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.decoding.beam import SearchBatch
from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.request import Finished
from serving.decoding.step import Model
from serving.decoding.tensors import on_host
from serving.errors import ModelFault


def decode(
    model: Model,
    inputs: Sequence[Mapping[str, NDArray[np.generic]]],
    options: DecodingOptions | Sequence[DecodingOptions],
    constraints: Sequence[Constraint | None] | None = None,
) -> list[tuple[Hypothesis, ...]]:
    """Encode all sources in one padded batch, then search them together until the last is done. Greedy is beam_size 1.

    Args:
        model: encoder and step.
        inputs: one source each, as `Model.encode` takes them; the caller cuts a corpus into batches of a size that fits.
        options: one for all, or one a source.
        constraints: one a source; None where there is none.

    Returns:
        for every source its hypotheses, best first: `hypothesis_count` of them unless the search found fewer, at least one.

    Raises:
        ModelFault: the model gave log-probs that are not numbers.
    """
    if not inputs:
        return []
    per_source = [options] * len(inputs) if isinstance(options, DecodingOptions) else options
    per_constraint = [None] * len(inputs) if constraints is None else constraints
    encoded = model.encode(inputs)
    lengths = on_host(encoded.memory["memory_mask"]).sum(axis=1).tolist()
    batch = SearchBatch(per_source[0].special)
    for source, (option, constraint) in enumerate(zip(per_source, per_constraint, strict=True)):
        batch.add(source, source, option, constraint, lengths[source])

    answers: dict[int, tuple[Hypothesis, ...]] = {}
    state = encoded.state
    while batch.request_count:
        outputs, state = model.step(batch.inputs(), encoded.memory, state, attention=batch.wants_attention)
        answers |= dict(_answer(finished) for finished in batch.select(outputs))
    return [answers[source] for source in range(len(inputs))]


def _answer(finished: Finished) -> tuple[int, tuple[Hypothesis, ...]]:
    """Return the source's number with its hypotheses, or raise when the model failed it."""
    if not finished.hypotheses:
        raise ModelFault(
            f"the model's log-probs are not numbers, source {finished.request}, step {finished.step_count}"
        )
    return finished.request, finished.hypotheses
