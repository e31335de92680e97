"""How one request wants to be searched: resolved values, the model's defaults already applied by the task."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SpecialTokens:
    """The ids with a meaning of their own, as the manifest gives them; docs/architecture.md, "Token ids"."""

    pad: int
    bos: int
    eos: int


@dataclass(frozen=True)
class DecodingOptions:
    """How to search for one request's answer. The edge validates; the assertions here only state what it promised.

    Attributes:
        beam_size: K, hypotheses kept at every step; 1 is greedy.
        max_length: most tokens of an answer, `eos` not counted; at least 1.
        vocabulary_size: V of this request's own targets: the manifest's, or in pointing `first_position` plus the number of
            points. It bounds how many candidates a step can be asked for.
        special: the special ids, one set a model.
        hypothesis_count: n, hypotheses to return; from 1 to `beam_size`.
        length_penalty: alpha of `penalties.length_penalty`; 0 (off) or more.
        min_length: fewest tokens of an answer, `eos` not counted; from 0 to `max_length`.
        attention: whether hypotheses carry their attention weights.
    """

    beam_size: int
    max_length: int
    vocabulary_size: int
    special: SpecialTokens
    hypothesis_count: int = 1
    length_penalty: float = 0.0
    min_length: int = 0
    attention: bool = False

    def __post_init__(self) -> None:
        assert self.beam_size >= 1
        assert 1 <= self.hypothesis_count <= self.beam_size
        assert self.max_length >= 1
        assert 0 <= self.min_length <= self.max_length
        assert self.length_penalty >= 0
        assert self.vocabulary_size > self.special.eos

    @property
    def candidates(self) -> int:
        """Return how many best tokens a row can need: the best K continuations take at most K from any one row."""
        return min(self.beam_size, self.vocabulary_size)
