"""A request's decoding options, checked against the model's limits and completed with its defaults."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from serving.decoding.options import DecodingOptions, LengthNormalization, Sampling, SpecialTokens
from serving.decoding.phrases import RequiredPhrases
from serving.errors import InvalidRequest
from serving.manifest import DecodingDefaults, Manifest, Vocabulary

MOST_LENGTH_PENALTY: Final = 5.0
MOST_COVERAGE_PENALTY: Final = 5.0
PATIENCE: Final = (0.1, 10.0)
REPETITION_PENALTY: Final = (1.0, 10.0)
TEMPERATURE: Final = (0.01, 100.0)
MOST_TOP_K: Final = 1000
USUAL_TOP_K: Final = 50
MOST_NGRAM: Final = 100
MOST_GIVEN: Final[Mapping[str, tuple[int, str]]] = {
    "suppressed_tokens": (1000, "tokens"),
    "target_prefix_tokens": (10_000, "tokens"),  # far more than any model's max_length, which bounds them next
    "suppressed_phrases": (100, "phrases"),
    "required_phrases": (20, "phrases"),
}
"""Most entries of the options that are lists."""


@dataclass(frozen=True)
class RequestedSampling:
    """How a request wants to sample; None takes the default. See Sampling in protos/beamstep/v1/decoding.proto."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class RequestedOptions:
    """What a request asks for; None takes the model's default. See DecodingOptions in protos/beamstep/v1/decoding.proto.

    Ensembles and what to do at a deadline are not among them: they are no matter of one model's search.
    """

    beam_size: int | None = None
    hypothesis_count: int | None = None
    length_penalty: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    attention: bool = False
    length_normalization: LengthNormalization = LengthNormalization.GNMT
    coverage_penalty: float | None = None
    patience: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    suppressed_tokens: tuple[int, ...] = ()
    suppressed_phrases: tuple[str, ...] = ()
    required_phrases: tuple[str, ...] = ()
    target_prefix: str = ""
    target_prefix_tokens: tuple[int, ...] = ()
    alternatives: bool = False
    sampling: RequestedSampling | None = None


@dataclass(frozen=True)
class Wording:
    """What a request says of the answer's own tokens, text already cut into pieces.

    Attributes:
        prefix: what the answer begins with; without `eos`.
        required: what it must hold.
        scored: whether the prefix is the whole answer, to be scored alone.
    """

    prefix: tuple[int, ...] = ()
    required: RequiredPhrases | None = None
    scored: bool = False


NOTHING: Final = Wording()


def resolve_options(
    requested: RequestedOptions,
    manifest: Manifest,
    source_length: int,
    vocabulary_size: int,
    wording: Wording = NOTHING,
) -> DecodingOptions:
    """Return how to search, every value within the model's limits.

    Args:
        requested: as the request has it.
        manifest: the model's defaults and limits.
        source_length: positions of the encoder's input, which the default maximum length depends on.
        vocabulary_size: how many token ids this request's answer can have.
        wording: what it says of the answer's tokens.

    Raises:
        InvalidRequest: a value is out of range, or two do not go together; the field is named `options.<name>`.
    """
    defaults, limits, vocabulary = manifest.defaults, manifest.limits, manifest.vocabulary
    _check_together(requested)
    beams = range(1, limits.beam_size + 1)
    if requested.sampling is not None:
        beam_size = hypothesis_count = _in_range("hypothesis_count", requested.hypothesis_count, 1, beams)
    else:
        beam_size = _in_range("beam_size", requested.beam_size, 1 if wording.scored else defaults.beam_size, beams)
        hypothesis_count = _in_range(
            "hypothesis_count", requested.hypothesis_count, 1, range(1, beam_size + 1), "beam_size"
        )
    usual_length = min(defaults.max_length.of(source_length), limits.max_length)
    max_length = _in_range("max_length", requested.max_length, usual_length, range(1, limits.max_length + 1))
    if wording.scored:
        max_length = max(len(wording.prefix), 1)
    usual_minimum = min(defaults.min_length, max_length)
    min_length = _in_range("min_length", requested.min_length, usual_minimum, range(max_length + 1), "max_length")
    _check_wording(wording, requested, max_length)
    return DecodingOptions(
        beam_size=beam_size,
        max_length=max_length,
        vocabulary_size=vocabulary_size,
        hypothesis_count=hypothesis_count,
        length_penalty=_within(
            "length_penalty", requested.length_penalty, defaults.length_penalty, 0, MOST_LENGTH_PENALTY
        ),
        length_normalization=requested.length_normalization,
        coverage_penalty=_within("coverage_penalty", requested.coverage_penalty, 0, 0, MOST_COVERAGE_PENALTY),
        patience=_patience(requested, defaults),
        repetition_penalty=_within("repetition_penalty", requested.repetition_penalty, 1, *REPETITION_PENALTY),
        min_length=min_length,
        prefix=wording.prefix,
        scored=wording.scored,
        alternatives=requested.alternatives and hypothesis_count > 1,
        required=wording.required,
        sampling=None if requested.sampling is None else _sampling(requested.sampling),
        attention=requested.attention,
        special=SpecialTokens(vocabulary.pad, vocabulary.bos, vocabulary.eos),
    )


def ngram_size(requested: RequestedOptions) -> int:
    """Return the size of the n-grams that may not come twice; 0 is off."""
    return _in_range("no_repeat_ngram_size", requested.no_repeat_ngram_size, 0, range(MOST_NGRAM + 1))


def check_count(name: str, count: int) -> None:
    """Refuse too many entries of an option in `MOST_GIVEN`; to be asked before they are gone through."""
    most, noun = MOST_GIVEN[name]
    if count > most:
        raise InvalidRequest(f"options.{name}", f"{count} {noun}", f"up to {most}")


def check_tokens(name: str, tokens: Sequence[int], vocabulary_size: int, vocabulary: Vocabulary) -> None:
    """Refuse too many ids, ids that are none, and the special ones; the field is named `options.<name>` or `options.<name>[i]`."""
    check_count(name, len(tokens))
    special = (vocabulary.pad, vocabulary.bos, vocabulary.eos)
    for place, token in enumerate(tokens):
        if not 0 <= token < vocabulary_size or token in special:
            allowed = f"from 0 to {vocabulary_size - 1}, the special tokens {special[0]}, {special[1]} and {special[2]} excepted"
            raise InvalidRequest(f"options.{name}[{place}]", str(token), allowed)


def check_unset_for_scoring(requested: RequestedOptions) -> None:
    """Refuse options that say how to search, where there is nothing to search for."""
    plain = RequestedOptions(
        length_penalty=requested.length_penalty,
        attention=requested.attention,
        length_normalization=requested.length_normalization,
        coverage_penalty=requested.coverage_penalty,
    )
    for name, value in vars(requested).items():
        if value != getattr(plain, name):
            raise InvalidRequest(f"options.{name}", "given", "unset where a target is scored")


def _check_together(requested: RequestedOptions) -> None:
    """Refuse options that exclude each other."""
    given = {
        "sampling": requested.sampling is not None,
        "beam_size": requested.beam_size is not None,
        "patience": requested.patience is not None,
        "required_phrases": bool(requested.required_phrases),
        "alternatives": requested.alternatives,
        "target_prefix": bool(requested.target_prefix),
        "target_prefix_tokens": bool(requested.target_prefix_tokens),
    }
    excluded = [
        ("beam_size", "sampling"),
        ("patience", "sampling"),
        ("required_phrases", "sampling"),
        ("alternatives", "sampling"),
        ("alternatives", "required_phrases"),
        ("target_prefix_tokens", "target_prefix"),
    ]
    for one, other in excluded:
        if given[one] and given[other]:
            raise InvalidRequest(f"options.{one}", f"given together with {other}", "one of the two")


def _check_wording(wording: Wording, requested: RequestedOptions, max_length: int) -> None:
    length = len(wording.prefix)
    if length > max_length:
        field = "target_prefix_tokens" if requested.target_prefix_tokens else "target_prefix"
        raise InvalidRequest(f"options.{field}", f"{length} tokens", f"up to max_length, {max_length} here")
    if wording.required is not None and length + wording.required.token_count > max_length:
        room = f"up to {max_length - length}, which max_length leaves" + (" after the prefix" if length else "")
        raise InvalidRequest("options.required_phrases", f"{wording.required.token_count} tokens together", room)


def _patience(requested: RequestedOptions, defaults: DecodingDefaults) -> float | None:
    """Return when a search is over before nothing better can come; a sample is no search."""
    if requested.patience is not None:
        return _within("patience", requested.patience, 1, *PATIENCE)
    return None if requested.sampling is not None else defaults.patience


def _sampling(requested: RequestedSampling) -> Sampling:
    top_p = 1.0 if requested.top_p is None else requested.top_p
    if not 0 < top_p <= 1:  # true of NaN too
        raise InvalidRequest("options.sampling.top_p", f"{top_p:g}", "above 0, up to 1")
    seed = secrets.randbelow(2**63) if requested.seed is None else requested.seed
    if seed < 0:
        raise InvalidRequest("options.sampling.seed", str(seed), f"from 0 to {2**63 - 1}")
    return Sampling(
        seed=seed,
        temperature=_within("sampling.temperature", requested.temperature, 1.0, *TEMPERATURE),
        top_k=_in_range("sampling.top_k", requested.top_k, USUAL_TOP_K, range(1, MOST_TOP_K + 1)),
        top_p=top_p,
    )


def _within(name: str, given: float | None, default: float, least: float, most: float) -> float:
    """Return `given`, or `default` when it is None."""
    if given is None:
        return default
    if not least <= given <= most:  # true of NaN too
        raise InvalidRequest(f"options.{name}", f"{given:g}", f"from {least:g} to {most:g}")
    return given


def _in_range(name: str, given: int | None, default: int, allowed: range, bound: str = "") -> int:
    """Return `given`, or `default` when it is None; `bound` names the option that the upper end comes from, if one does."""
    if given is None:
        return default
    if given not in allowed:
        most = f"{bound}, {allowed[-1]} here" if bound else str(allowed[-1])
        raise InvalidRequest(f"options.{name}", str(given), f"from {allowed[0]} to {most}")
    return given
