"""What a request itself rules out, through the same interface as a task's rules: pure functions of the tokens so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from serving.decoding.constraints import Constraint
from serving.decoding.step import IntArray


@dataclass(frozen=True)
class AllOf:
    """Several constraints at once."""

    constraints: tuple[Constraint, ...]

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban what any of them bans."""
        return np.concatenate([constraint.banned(tokens) for constraint in self.constraints], axis=1)


@dataclass(frozen=True)
class SuppressedTokens:
    """Tokens that no hypothesis holds."""

    tokens: tuple[int, ...]

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban them at every step."""
        return np.tile(self._row, (len(tokens), 1))

    @cached_property
    def _row(self) -> IntArray:
        return np.array(self.tokens, np.int64)


@dataclass(frozen=True)
class NoRepeatedNgram:
    """No n-gram of tokens comes twice in a hypothesis (Paulus et al. 2018, arXiv:1705.04304, section 2.5)."""

    size: int
    pad: int

    def __post_init__(self) -> None:
        assert self.size >= 1

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban what followed earlier occurrences of the last size - 1 tokens; (rows, t - size + 1)."""
        rows, length = tokens.shape
        if length < self.size:
            return np.empty((rows, 0), np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(tokens, self.size, axis=1)  # (rows, t - size + 1, size)
        last = tokens[:, length - self.size + 1 :]  # (rows, size - 1)
        same = (windows[:, :, :-1] == last[:, None, :]).all(axis=2)
        return np.where(same, windows[:, :, -1], self.pad)


@dataclass(frozen=True)
class SuppressedPhrases:
    """Texts that no hypothesis holds as whole words, however they are cut into pieces.

    A phrase begins at the beginning of a word, and every way of cutting it ends with a piece that is one of its ends. So a token is
    banned when it is such an end and the text before it, written with `▁` for spaces, ends with the rest of the phrase. A longer
    word that begins with the phrase can still come, but not by way of it.

    Attributes:
        ends: for each phrase: (what stands before the end, the token of the end); the text before may be empty.
        pieces: the vocabulary as text, by token.
        pad: fills rows up.
    """

    ends: tuple[tuple[str, int], ...]
    pieces: Sequence[str] = field(repr=False, compare=False)
    pad: int

    @classmethod
    def of(
        cls, phrases: Sequence[str], tokens: Mapping[str, int], pieces: Sequence[str], pad: int
    ) -> "SuppressedPhrases":
        """Find the ends of phrases, each written with `▁` for spaces and at its beginning, among the pieces of a vocabulary."""
        longest = max(map(len, tokens))
        cuts = [(phrase, cut) for phrase in phrases for cut in range(max(0, len(phrase) - longest), len(phrase))]
        ends = [(phrase[:cut], tokens[phrase[cut:]]) for phrase, cut in cuts if phrase[cut:] in tokens]
        return cls(tuple(dict.fromkeys(ends)), pieces, pad)

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban the ends of phrases whose beginnings the hypotheses end with; (rows, ends)."""
        banned = np.full((len(tokens), len(self.ends)), self.pad)
        for row, chosen in enumerate(tokens[:, max(0, tokens.shape[1] - self._longest) :].tolist()):
            text = "".join(self.pieces[token] for token in chosen)
            for column, (before, token) in enumerate(self.ends):
                if text.endswith(before):
                    banned[row, column] = token
        return banned

    @cached_property
    def _longest(self) -> int:
        """Return how many tokens the beginning of a phrase can be cut into at most."""
        return max((len(before) for before, _ in self.ends), default=0)


def all_of(constraints: Sequence[Constraint]) -> Constraint | None:
    """Return one constraint for several; None for none."""
    return AllOf(tuple(constraints)) if len(constraints) > 1 else next(iter(constraints), None)
