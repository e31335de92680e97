"""A request's decoding options, checked against the model's limits and completed with its defaults."""

from dataclasses import dataclass

from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.errors import InvalidRequest
from serving.manifest import Manifest

MOST_LENGTH_PENALTY = 5.0


@dataclass(frozen=True)
class RequestedOptions:
    """What a request asks for; None takes the model's default. See DecodingOptions in protos/beamstep/v1/decoding.proto."""

    beam_size: int | None = None
    hypothesis_count: int | None = None
    length_penalty: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    attention: bool = False


def resolve_options(
    requested: RequestedOptions, manifest: Manifest, source_length: int, vocabulary_size: int
) -> DecodingOptions:
    """Return how to search, every value within the model's limits.

    Args:
        requested: as the request has it.
        manifest: the model's defaults and limits.
        source_length: positions of the encoder's input, which the default maximum length depends on.
        vocabulary_size: how many token ids this request's answer can have.

    Raises:
        InvalidRequest: a value is out of range; the field is named `options.<name>`.
    """
    defaults, limits, vocabulary = manifest.defaults, manifest.limits, manifest.vocabulary
    beam_size = _in_range("beam_size", requested.beam_size, defaults.beam_size, range(1, limits.beam_size + 1))
    hypothesis_count = _in_range(
        "hypothesis_count", requested.hypothesis_count, 1, range(1, beam_size + 1), "beam_size"
    )
    penalty = defaults.length_penalty if requested.length_penalty is None else requested.length_penalty
    if not 0 <= penalty <= MOST_LENGTH_PENALTY:  # false for NaN too
        raise InvalidRequest("options.length_penalty", f"{penalty:g}", f"from 0 to {MOST_LENGTH_PENALTY:g}")
    usual_length = min(defaults.max_length.of(source_length), limits.max_length)
    max_length = _in_range("max_length", requested.max_length, usual_length, range(1, limits.max_length + 1))
    usual_minimum = min(defaults.min_length, max_length)
    min_length = _in_range("min_length", requested.min_length, usual_minimum, range(max_length + 1), "max_length")
    return DecodingOptions(
        beam_size=beam_size,
        max_length=max_length,
        vocabulary_size=vocabulary_size,
        hypothesis_count=hypothesis_count,
        length_penalty=penalty,
        min_length=min_length,
        attention=requested.attention,
        special=SpecialTokens(vocabulary.pad, vocabulary.bos, vocabulary.eos),
    )


def _in_range(name: str, given: int | None, default: int, allowed: range, bound: str = "") -> int:
    """Return `given`, or `default` when it is None; `bound` names the option that the upper end comes from, if one does."""
    if given is None:
        return default
    if given not in allowed:
        most = f"{bound}, {allowed[-1]} here" if bound else str(allowed[-1])
        raise InvalidRequest(f"options.{name}", str(given), f"from {allowed[0]} to {most}")
    return given
