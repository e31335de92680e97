"""The parity check: every tensor of the traced graphs against PyTorch, before anything else is made of them.

Memory and states are compared here and nowhere else, for the comparison needs PyTorch; that the search finds the same tokens, and
what another precision does, is `export.certification`'s.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.certification.bounds import TENSOR_TOLERANCE
from export.certification.probes import Probe, draw_probes
from export.certification.sources import Source
from export.errors import ParityError
from serving.decoding.step import Encoded, Model, StepOutputs
from serving.decoding.tensors import on_host
from serving.manifest import Manifest

ALL_CANDIDATES_EVERY: Final = 2
"""At every so many steps the whole vocabulary is compared."""


def check_parity(manifest: Manifest, reference: Model, candidate: Model, like: Sequence[Source]) -> float:
    """Encode and step random sources on both sides, and return the largest difference of any number.

    Args:
        manifest: what is allowed.
        reference: PyTorch.
        candidate: the graphs, in float32.
        like: real sources, whose token ids random ones are made of.

    Raises:
        ParityError: they differ by more than rounding; the message says in what.
    """
    probes = draw_probes(manifest, reference, like)
    return max(error for probe in probes for error in _compare(manifest, reference, candidate, probe))


def _compare(manifest: Manifest, reference: Model, candidate: Model, probe: Probe) -> list[float]:
    expected, actual = reference.encode(probe.sources), candidate.encode(probe.sources)
    errors = [_difference(f"encoder {name}", both(expected)[name], both(actual)[name]) for name in both(expected)]
    # Each side goes on with its own state, so that errors add up as they do in a search.
    expected_state, actual_state = expected.state, actual.state
    for place, step in enumerate(probe.steps):
        inputs = step.inputs
        if place % ALL_CANDIDATES_EVERY == 0:
            inputs = inputs._replace(candidates=_width(manifest, expected))
        outputs, expected_state = reference.step(inputs, expected.memory, expected_state, attention=True)
        answered, actual_state = candidate.step(inputs, actual.memory, actual_state, attention=True)
        errors += _compare_outputs(outputs, answered)
        errors += [
            _difference(f"step {name}", on_host(tensor), on_host(actual_state[name]))
            for name, tensor in expected_state.items()
        ]
    return errors


def both(encoded: Encoded) -> dict[str, NDArray[np.generic]]:
    """Return the numbers of memory and state under their names."""
    return {name: on_host(tensor) for name, tensor in (encoded.memory | encoded.state).items()}


def _width(manifest: Manifest, encoded: Encoded) -> int:
    """Return the size of the vocabulary of sources that were encoded together."""
    vocabulary = manifest.vocabulary
    if vocabulary.first_position is None:
        assert vocabulary.size is not None
        return vocabulary.size
    return vocabulary.first_position + int(encoded.memory["memory_mask"].shape[1])


def _compare_outputs(expected: StepOutputs, actual: StepOutputs) -> list[float]:
    """Compare what a step says; tokens may trade places only where their log-probs tie."""
    differing = expected.candidate != actual.candidate
    allowed = np.isfinite(expected.log_prob)
    _check_order(expected, actual, differing & allowed)
    assert expected.attention is not None
    assert actual.attention is not None
    return [
        _difference("step log_prob", expected.log_prob, actual.log_prob),
        _difference("step query_log_prob", expected.query_log_prob, actual.query_log_prob),
        _difference("step attention", expected.attention, actual.attention),
    ]


def _check_order(expected: StepOutputs, actual: StepOutputs, differing: NDArray[np.bool_]) -> None:
    """Refuse a token in another place unless its neighbour there is within the tolerance."""
    for row, place in np.argwhere(differing):
        found = np.flatnonzero(expected.candidate[row] == actual.candidate[row, place])
        given = actual.log_prob[row, place]
        wanted = expected.log_prob[row, found[0]] if len(found) else expected.log_prob[row, -1]
        if not abs(float(wanted) - float(given)) <= TENSOR_TOLERANCE:
            raise ParityError(
                f"step candidate: place {place} of row {row} is token {actual.candidate[row, place]} with log-prob {given:.6f}; "
                f"PyTorch has token {expected.candidate[row, place]} with {expected.log_prob[row, place]:.6f}"
            )


def _difference(name: str, expected: NDArray[np.generic], actual: NDArray[np.generic]) -> float:
    """Return the largest difference of two tensors.

    Raises:
        ParityError: their shapes or dtypes differ, integers, booleans or infinities do, or a number by more than the tolerance.
    """
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        raise ParityError(f"{name}: {actual.dtype}{actual.shape}; PyTorch has {expected.dtype}{expected.shape}")
    if expected.dtype.kind != "f":
        if not np.array_equal(expected, actual):
            raise ParityError(
                f"{name}: {int((expected != actual).sum())} of {expected.size} values differ from PyTorch's"
            )
        return 0.0
    same = expected == actual  # infinities of the same sign too
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, np.abs(expected.astype(np.float64) - actual.astype(np.float64)))
    largest = float(difference.max(initial=0))
    if not largest <= TENSOR_TOLERANCE:  # NaN is refused too
        raise ParityError(f"{name}: differs from PyTorch's by {largest:.3g}; the tolerance is {TENSOR_TOLERANCE:g}")
    return largest
