"""What a certificate must show to pass, each bound beside its reason."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from serving.manifest import Certificate, MetricChange, Precision, TokenAgreement

TENSOR_TOLERANCE: Final = 1e-3
"""The largest difference of a number between PyTorch and ONNX Runtime in float32.

Both compute in float32 (2^-24 relative) but sum in another order: products over a few hundred numbers differ by about 1e-6, a
network of 52 convolutions by 1e-5, and the log-probs of a confident model multiply what its state differs by up to 1e-4 and more,
after four steps off any path it was trained on. A wrong gate, mask, weight or order differs by 1e-2.
"""
LEAST_IDENTICAL: Final = 0.99
"""Share of answers of fp32 that are PyTorch's."""
TIE: Final = 1e-3
"""Two tokens whose log-probs are this close are a tie that float32's rounding may decide either way."""
LARGEST_ROUNDED_MARGIN: Final = 0.5
"""The same for 8 bits and float16: their rounding moves log-probs by some 0.01 to 0.1, and a difference of two by up to twice
that; a wrong scale, gate or mask makes answers part where PyTorch preferred its token by whole nats."""
LARGEST_ROUNDED_MARGIN_OF_IMAGES: Final = 5.0
"""The same for int8 with an image encoder: 49 layers of 8 bits move MobileNetV2's features by a fifth in the mean, so captions may
part where PyTorch preferred its word clearly (2.6 nats in one of 1,000 photos). BLEU-4 tells whether they are worse."""
LEAST_ROUNDED_IDENTICAL: Final = 0.8
"""Share of greedy answers of int8 and fp16 that are PyTorch's; asked only where no metric tells whether the others are worse."""
LEAST_ROUNDED_IDENTICAL_OF_IMAGES: Final = 0.1
"""The same for int8 with an image encoder, on drawn pictures, which no photo resembles: the shipped captioner has 22 % there,
and 35 % on photos with BLEU-4 unchanged. It tells gross faults alone, such as a wrong scale."""
NEIGHBOURS_TOLERANCE: Final[Mapping[Precision, float]] = {"fp32": 5e-6, "int8": 5e-6, "fp16": 4e-3}
"""How much other rows may change a log-prob. A product of matrices may be cut into other blocks when there are more rows, and then
sums in another order: 2^-24 relative in float32 (8-bit products sum in integers, exactly, and go on in float32). Sums of up to 128
terms never were cut; attention over 200 points changed log-probs by 1.9e-6. In float16 the last bit of a
state is 2^-11, 5e-4, and a log-prob sums over several such. Dynamic 8-bit scales change 5e-3."""
PADDING_TOLERANCE: Final[Mapping[Precision, float]] = {"fp32": 1e-5, "int8": 1e-5, "fp16": 4e-3}
"""How much the sources encoded with its own may change a row's log-prob. ONNX Runtime multiplies a single vector in another order
than a matrix, and attention sums over padding too: 1e-7 in a state, up to 4e-6 in log-probs of logits around 20. A mask that lets
padding through changes 1e-2."""
METRIC_LOSS: Final[Mapping[str, float]] = {"bleu_lower_tokenized": 0.2, "bleu_4": 0.3, "exact": 0.3}
"""Points that a metric may fall; it may rise as it likes."""
LENGTH_GAIN: Final = 0.001
"""Share by which tours may become longer."""


class TokenBounds(NamedTuple):
    """What is asked of answers: the least share of identical ones, and the largest margin of the others."""

    identical: float
    margin: float


EXACT: Final = TokenBounds(LEAST_IDENTICAL, TIE)
ROUNDED: Final = TokenBounds(LEAST_ROUNDED_IDENTICAL, LARGEST_ROUNDED_MARGIN)
ROUNDED_IMAGES: Final = TokenBounds(LEAST_ROUNDED_IDENTICAL_OF_IMAGES, LARGEST_ROUNDED_MARGIN_OF_IMAGES)


def faults_of(certificate: Certificate, *, of_images: bool = False) -> tuple[str, ...]:
    """Return what keeps a certificate from passing, each with its figure and the bound; `of_images` where an encoder reads them."""
    return (
        *_tensor_faults(certificate),
        *_token_faults(certificate, of_images=of_images),
        *_metric_faults(certificate.metric),
        *_neighbour_faults(certificate),
    )


def _tensor_faults(certificate: Certificate) -> Iterator[str]:
    error = certificate.tensor_error
    if certificate.precision == "fp32" and error is not None and error > TENSOR_TOLERANCE:
        yield f"tensors: differ from PyTorch's by {error:.3g} on random shapes; allowed: {TENSOR_TOLERANCE:g}"


def _token_faults(certificate: Certificate, *, of_images: bool) -> Iterator[str]:
    exact = certificate.precision == "fp32"
    rounded = ROUNDED_IMAGES if of_images and certificate.precision == "int8" else ROUNDED
    least, largest = EXACT if exact else rounded
    for tokens in certificate.tokens:
        search = "greedy" if tokens.beam_size == 1 else f"beam {tokens.beam_size}"
        if tokens.identical < least and (exact or (certificate.metric is None and tokens.beam_size == 1)):
            yield (
                f"{search}: {100 * tokens.identical:.1f} % of the answers are PyTorch's token by token; needed: {100 * least:g} %"
            )
        if tokens.beam_size == 1:
            yield from _margin_faults(tokens, largest)


def _margin_faults(tokens: TokenAgreement, largest: float) -> Iterator[str]:
    margin = tokens.largest_margin
    if margin is not None and margin > largest:
        yield (
            f"greedy: an answer differs from PyTorch's at a token that was {margin:.3g} likelier; allowed: up to {largest:g}"
        )


def _metric_faults(metric: MetricChange | None) -> Iterator[str]:
    if metric is None:
        return
    if metric.metric == "mean_length":
        longer = metric.served / metric.pytorch - 1
        if longer > LENGTH_GAIN:
            yield f"mean_length: {100 * longer:.2f} % longer than PyTorch's; allowed: {100 * LENGTH_GAIN:g} %"
        return
    loss, allowed = metric.pytorch - metric.served, METRIC_LOSS[metric.metric]
    if loss > allowed:
        yield f"{metric.metric}: {metric.served:.2f}, PyTorch's answers have {metric.pytorch:.2f}; allowed: {allowed:g} below"


def _neighbour_faults(certificate: Certificate) -> Iterator[str]:
    precision = certificate.precision
    for what, error, allowed in (
        ("neighbours: other rows", certificate.neighbours_error, NEIGHBOURS_TOLERANCE[precision]),
        ("padding: sources encoded beside its own", certificate.padding_error, PADDING_TOLERANCE[precision]),
    ):
        if error is not None and error > allowed:
            yield f"{what} change a row's log-probs by {error:.3g}; allowed: {allowed:g}"
