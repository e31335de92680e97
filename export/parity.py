"""The parity check: the exported graphs against PyTorch, before anything is published.

Two questions. Are the tensors the same, on random sources of random lengths, for steps that repeat, drop and ban? And does the
search find the same tokens on real inputs that training never saw, for a source alone and beside others?
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.errors import ParityError
from export.publish import now
from export.sources import Source, random_source
from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.decoding.step import Encoded, Model, StepInputs, StepOutputs
from serving.decoding.tensors import on_host
from serving.manifest import Certificate, Manifest, TokenAgreement
from serving.tasks.options import RequestedOptions, resolve_options
from serving.tasks.pointing import constraint_of

TENSOR_TOLERANCE: Final = 1e-3
"""The largest difference of a number between PyTorch and ONNX Runtime.

Both compute in float32 (2^-24 relative) but sum in another order: products over a few hundred numbers differ by about 1e-6, a
network of 52 convolutions by 1e-5, and the log-probs of a confident model multiply what its state differs by up to 1e-4 and more,
after four steps off any path it was trained on. A wrong gate, mask, weight or order differs by 1e-2.
"""
SHAPES: Final = 8
LEAST_IDENTICAL: Final = 0.99
LARGEST_MARGIN: Final = 1e-3
"""Two tokens whose log-probs are this close are a tie that rounding may decide either way."""
BEAM_SIZE: Final = 5
BATCH_SIZE: Final = 16


@dataclass(frozen=True)
class Comparison:
    """What is compared: the same bundle in PyTorch (the reference) and on ONNX Runtime (the candidate)."""

    manifest: Manifest
    reference: Model
    candidate: Model


def check_parity(
    comparison: Comparison, sources: Sequence[Source], provider: str, progress: Callable[[str], None]
) -> Certificate:
    """Compare tensors and decodes.

    Args:
        comparison: both sides.
        sources: real inputs that the model was not trained on.
        provider: the execution provider that the candidate runs on; goes into the report.
        progress: called with a word on what is being done.

    Raises:
        ParityError: they differ by more than rounding; the message says in what.
    """
    progress(f"comparing tensors on {SHAPES} random shapes")
    error = _check_tensors(comparison, sources)
    progress(f"decoding {len(sources)} held-back inputs greedily")
    greedy = _compare_decodes(comparison, sources, beam_size=1)
    _check_greedy(greedy)
    beam_size = min(BEAM_SIZE, comparison.manifest.limits.beam_size)
    progress(f"decoding {len(sources)} held-back inputs with beam {beam_size}")
    beam = _compare_decodes(comparison, sources, beam_size)
    _check_share("beam", beam.identical)
    return Certificate(
        provider=provider,
        precision="fp32",
        passed=True,
        created=now(),
        machine=f"onnxruntime=={onnxruntime.__version__}",
        tensor_shapes=SHAPES,
        tensor_error=error,
        tokens=(
            TokenAgreement(
                beam_size=1,
                inputs=len(sources),
                identical=greedy.identical,
                largest_margin=max(greedy.margins, default=None),
            ),
            TokenAgreement(beam_size=beam_size, inputs=len(sources), identical=beam.identical),
        ),
    )


# ---- tensors


def _check_tensors(comparison: Comparison, like: Sequence[Source]) -> float:
    """Encode and step random sources on both sides, and return the largest difference of any number."""
    random = np.random.default_rng(0)
    errors = [0.0]
    limits = comparison.manifest.limits
    for shape in range(SHAPES):
        source_count = 1 if shape == 0 else int(random.integers(2, 6))
        lengths = random.integers(limits.min_source_length, min(limits.source_length, 60) + 1, source_count)
        # The ends of what is allowed: one source of the least length alone, and one of the greatest beside others.
        lengths[0] = {0: limits.min_source_length, SHAPES - 1: limits.source_length}.get(shape, lengths[0])
        sources = [random_source(comparison.manifest.task, random, int(length), like) for length in lengths]
        errors += _compare_steps(comparison, sources, random)
    return max(errors)


def _compare_steps(comparison: Comparison, sources: Sequence[Source], random: np.random.Generator) -> list[float]:
    """Encode sources and take four steps of rows that are repeated, dropped, banned and asked about at random."""
    expected, actual = comparison.reference.encode(sources), comparison.candidate.encode(sources)
    errors = [_difference(f"encoder {name}", both(expected)[name], both(actual)[name]) for name in both(expected)]
    # Each side goes on with its own state, so that errors add up as they do in a search; memory and tokens are shared.
    expected_state, actual_state = expected.state, actual.state
    mask = on_host(expected.memory["memory_mask"]).astype(np.bool_)
    row_source = np.arange(len(sources))
    tokens = np.full(len(sources), comparison.manifest.vocabulary.bos)
    for _ in range(4):
        parent = random.integers(0, len(row_source), int(random.integers(1, 2 * len(sources) + 2)))
        row_source = row_source[parent]
        inputs = _random_step(comparison.manifest, random, _Rows(tokens[parent], parent, row_source), mask)
        outputs, expected_state = comparison.reference.step(inputs, expected.memory, expected_state, attention=True)
        answered, actual_state = comparison.candidate.step(inputs, actual.memory, actual_state, attention=True)
        errors += _compare_outputs(outputs, answered)
        errors += [
            _difference(f"step {name}", on_host(tensor), on_host(actual_state[name]))
            for name, tensor in expected_state.items()
        ]
        choice = random.integers(0, np.isfinite(outputs.log_prob).sum(1))
        tokens = outputs.candidate[np.arange(len(parent)), choice]
    return errors


def both(encoded: Encoded) -> dict[str, NDArray[np.generic]]:
    """Return the numbers of memory and state under their names."""
    return {name: on_host(tensor) for name, tensor in (encoded.memory | encoded.state).items()}


class _Rows(NamedTuple):
    """What each of R rows is; (R,) int64 each, as in StepInputs."""

    token: NDArray[np.int64]
    parent: NDArray[np.int64]
    source: NDArray[np.int64]


def _random_step(manifest: Manifest, random: np.random.Generator, given: _Rows, mask: NDArray[np.bool_]) -> StepInputs:
    """Draw bans, queries and k for rows that are given; at least 3 tokens of each source stay allowed."""
    vocabulary = manifest.vocabulary
    rows = len(given.token)
    if vocabulary.first_position is None:
        assert vocabulary.size is not None
        highest, width = np.full(rows, vocabulary.size), vocabulary.size
    else:
        highest, width = (
            vocabulary.first_position + mask.sum(1)[given.source],
            vocabulary.first_position + mask.shape[1],
        )
    bans = int(random.integers(0, 4))
    banned = (
        random.integers(vocabulary.eos + 1, highest[:, None], (rows, bans)) if bans else np.zeros((rows, 0), np.int64)
    )
    return StepInputs(
        **given._asdict(),
        banned=np.where(random.random(banned.shape) < 0.2, vocabulary.pad, banned),
        query=random.integers(vocabulary.eos, highest),
        candidates=int(random.choice([1, 5, width])),
    )


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


# ---- decodes


@dataclass(frozen=True)
class _Decodes:
    """How two searches over the same sources compare.

    Attributes:
        identical: share of sources whose tokens were the same, alone and beside others.
        margins: for each source whose tokens were not, how much better PyTorch's token was where they first differ.
    """

    identical: float
    margins: tuple[float, ...]


def _compare_decodes(comparison: Comparison, sources: Sequence[Source], beam_size: int) -> _Decodes:
    expected = _decode(comparison, comparison.reference, sources, beam_size, BATCH_SIZE)
    alone = _decode(comparison, comparison.candidate, sources, beam_size, 1)
    beside = _decode(comparison, comparison.candidate, sources, beam_size, BATCH_SIZE)
    margins = []
    for source, best, *others in zip(sources, expected, alone, beside, strict=True):
        differing = [other for other in others if other.tokens != best.tokens]
        if differing:
            margins.append(max(_margin(comparison, source, best.tokens, other.tokens) for other in differing))
    return _Decodes(1 - len(margins) / len(sources), tuple(margins))


def _decode(
    comparison: Comparison, model: Model, sources: Sequence[Source], beam_size: int, batch_size: int
) -> list[Hypothesis]:
    """Return the best hypothesis of each source."""
    best = []
    for start in range(0, len(sources), batch_size):
        some = sources[start : start + batch_size]
        options = [decoding_options(comparison.manifest, source, beam_size) for source in some]
        constraints = [_constraint_of(comparison.manifest, source) for source in some]
        best += [found[0] for found in decode(model, some, options, constraints)]
    return best


def source_length(source: Source) -> int:
    """Return S of one source; 0 for an image, whose answers' length does not depend on it."""
    ragged = source.get("source_tokens", source.get("points"))
    return 0 if ragged is None else len(ragged)


def decoding_options(manifest: Manifest, source: Source, beam_size: int) -> DecodingOptions:
    """Return what serving makes of a request that asks for this beam alone."""
    length, vocabulary = source_length(source), manifest.vocabulary
    size = vocabulary.size if vocabulary.first_position is None else vocabulary.first_position + length
    assert size is not None
    return resolve_options(RequestedOptions(beam_size=beam_size), manifest, length, size)


def _constraint_of(manifest: Manifest, source: Source) -> Constraint | None:
    """Return what keeps a pointing answer well-formed in serving; None for text."""
    points = source.get("points")
    return None if points is None else constraint_of(manifest, points.astype(np.float64, copy=False))


def _margin(comparison: Comparison, source: Source, expected: tuple[int, ...], actual: tuple[int, ...]) -> float:
    """Return how much more PyTorch's log-prob of its own token is than of the other's, where two answers first differ."""
    shared = next(
        (place for place, pair in enumerate(zip(expected, actual, strict=False)) if pair[0] != pair[1]),
        min(len(expected), len(actual)),
    )
    if shared in (len(expected), len(actual)):
        return float("inf")  # one goes on where the other was cut: no rounding does that
    model, vocabulary = comparison.reference, comparison.manifest.vocabulary
    encoded = model.encode([source])
    state, rows = encoded.state, np.zeros(2, np.int64)
    query = np.array([expected[shared], actual[shared]])
    log_probs = np.zeros(2)
    for token in (vocabulary.bos, *expected[:shared]):
        inputs = StepInputs(np.full(2, token), rows, rows, np.zeros((2, 0), np.int64), query, candidates=1)
        outputs, state = model.step(inputs, encoded.memory, state)
        log_probs = outputs.query_log_prob.astype(np.float64)
    return abs(float(log_probs[0] - log_probs[1]))


def _check_greedy(decodes: _Decodes) -> None:
    """Refuse too many differing answers, and any that rounding cannot explain."""
    _check_share("greedy", decodes.identical)
    largest = max(decodes.margins, default=0.0)
    if largest > LARGEST_MARGIN:
        raise ParityError(
            f"greedy decoding: an answer differs from PyTorch's at a token that was {largest:.3g} more likely; "
            f"allowed: ties up to {LARGEST_MARGIN:g}"
        )


def _check_share(search: str, identical: float) -> None:
    if identical < LEAST_IDENTICAL:
        raise ParityError(
            f"{search} decoding: {100 * identical:.1f} % of the answers are PyTorch's token by token; "
            f"needed: {100 * LEAST_IDENTICAL:.0f} %"
        )
