"""How one request wants to be searched: resolved values, the model's defaults already applied by the task."""

from dataclasses import dataclass
from enum import Enum

from serving.decoding.phrases import RequiredPhrases


@dataclass(frozen=True)
class SpecialTokens:
    """The ids with a meaning of their own, as the manifest gives them; docs/architecture.md, "Token ids"."""

    pad: int
    bos: int
    eos: int


class LengthNormalization(Enum):
    """What divides a finished log-probability; see `penalties.length_penalty`."""

    GNMT = "((5 + length) / 6) ** alpha"
    PLAIN = "length ** alpha"


@dataclass(frozen=True)
class Sampling:
    """How to draw tokens at random; see `sampling.Sampler`.

    Attributes:
        seed: from 0 to 2^63 - 1; the same seed gives the same samples.
        temperature: divides the log-probs; above 0.
        top_k: draw among this many best tokens; from 1.
        top_p: draw among the fewest best of them that have this share of their probability; above 0, up to 1.
    """

    seed: int
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0

    def __post_init__(self) -> None:
        assert 0 <= self.seed < 2**63
        assert self.temperature > 0
        assert self.top_k >= 1
        assert 0 < self.top_p <= 1


@dataclass(frozen=True)
class DecodingOptions:
    """How to search for one request's answer. The edge validates; the assertions here only state what it promised.

    Attributes:
        beam_size: K, hypotheses kept at every step; 1 is greedy. With `sampling` the number of samples.
        max_length: most tokens of an answer, `eos` not counted; at least 1.
        vocabulary_size: V of this request's own targets: the manifest's, or in pointing `first_position` plus the number of
            points. It bounds how many candidates a step can be asked for.
        special: the special ids, one set a model.
        hypothesis_count: n, hypotheses to return; from 1 to `beam_size`.
        length_penalty: alpha of `penalties.length_penalty`; 0 (off) or more.
        length_normalization: what alpha is the exponent of.
        coverage_penalty: beta of `coverage.coverage_penalty`; 0 (off) or more.
        patience: p; the search ends once ceil(p * K) hypotheses have ended, and n at least; None: when no better one can come.
        repetition_penalty: multiplies the log-prob of a token that the hypothesis holds already; 1 (off) or more.
        min_length: fewest tokens of an answer, `eos` not counted; from 0 to `max_length`.
        prefix: tokens that the answer begins with, whatever is banned; at most `max_length`.
        scored: whether the prefix is the whole answer, to be scored and not gone on with.
        alternatives: whether the hypotheses differ in the token after the prefix, each with its own K // n places.
        required: what the answer must hold; None is nothing.
        sampling: draw at random instead of searching for the best.
        attention: whether hypotheses carry their attention weights.
    """

    beam_size: int
    max_length: int
    vocabulary_size: int
    special: SpecialTokens
    hypothesis_count: int = 1
    length_penalty: float = 0.0
    length_normalization: LengthNormalization = LengthNormalization.GNMT
    coverage_penalty: float = 0.0
    patience: float | None = None
    repetition_penalty: float = 1.0
    min_length: int = 0
    prefix: tuple[int, ...] = ()
    scored: bool = False
    alternatives: bool = False
    required: RequiredPhrases | None = None
    sampling: Sampling | None = None
    attention: bool = False

    def __post_init__(self) -> None:
        assert self.beam_size >= 1
        assert 1 <= self.hypothesis_count <= self.beam_size
        assert self.max_length >= 1
        assert 0 <= self.min_length <= self.max_length
        assert min(self.length_penalty, self.coverage_penalty) >= 0
        assert self.patience is None or self.patience > 0
        assert self.repetition_penalty >= 1
        assert self.vocabulary_size > self.special.eos
        assert len(self.prefix) <= self.max_length
        assert self.special.eos not in self.prefix
        assert [self.scored, self.alternatives, self.required is not None, self.sampling is not None].count(True) <= 1
        assert self.sampling is None or self.hypothesis_count == self.beam_size
        assert not self.scored or self.beam_size == 1
        assert self.required is None or self.required.token_count <= self.max_length

    @property
    def candidates(self) -> int:
        """Return how many best tokens a row can need: the best K continuations take at most K from any one row."""
        wanted = self.beam_size if self.sampling is None else self.sampling.top_k
        return min(wanted, self.vocabulary_size)

    @property
    def forced(self) -> tuple[int, ...]:
        """Return the tokens that are not up to the search: the prefix, and `eos` after one that is only scored."""
        return (*self.prefix, self.special.eos) if self.scored else self.prefix

    @property
    def least_steps(self) -> int:
        """Return the fewest steps that any answer takes."""
        required = 0 if self.required is None else self.required.token_count
        return max(self.min_length, len(self.prefix), required) + 1
