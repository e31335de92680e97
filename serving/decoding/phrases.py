"""Phrases that an answer must hold: how far a hypothesis has come with them, and how they share out its beam.

Post and Vilar 2018 (arXiv:1804.06609): the places of a beam are shared out between hypotheses that hold the same number of
required tokens, so that one with more of them is not pushed out by a more likely one with fewer. The highest share has a place at
least, and a hypothesis in it is always offered the next required token, so that every step takes one more: the phrases are
there by the end, unless something bans them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Progress = tuple[int, ...]
"""How many tokens of each phrase a hypothesis ends with, or the phrase's length once it holds the phrase."""


@dataclass(frozen=True)
class RequiredPhrases:
    """What one request requires.

    Attributes:
        phrases: each a sequence of at least one token, no two alike.
        continuing: tokens that go on with a word: banned right after a phrase, since they would make it part of another word.
    """

    phrases: tuple[tuple[int, ...], ...]
    continuing: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        assert self.phrases
        assert all(self.phrases)
        assert len(set(self.phrases)) == len(self.phrases)

    @property
    def token_count(self) -> int:
        """Return how many tokens all phrases have."""
        return sum(map(len, self.phrases))

    def after(self, prefix: Sequence[int]) -> Progress:
        """Return the progress of a hypothesis that begins with `prefix`."""
        return tuple(self._found(phrase, tuple(prefix)) for phrase in self.phrases)

    def advance(self, progress: Progress, token: int) -> Progress:
        """Return the progress after one more token, which is not a continuing one where a phrase has just been completed."""
        return tuple(_advance(phrase, reached, token) for phrase, reached in zip(self.phrases, progress, strict=True))

    def complete(self, progress: Progress) -> bool:
        """Say whether a hypothesis may end: no phrase is missing."""
        return self.complete_count(progress) == len(self.phrases)

    def complete_count(self, progress: Progress) -> int:
        """Return how many phrases a hypothesis holds."""
        return sum(reached == len(phrase) for phrase, reached in zip(self.phrases, progress, strict=True))

    def tokens_held(self, progress: Progress) -> int:
        """Return how many required tokens a hypothesis holds: those of its phrases, and of the longest one begun."""
        pairs = list(zip(self.phrases, progress, strict=True))
        held = sum(len(phrase) for phrase, reached in pairs if reached == len(phrase))
        return held + max((reached for phrase, reached in pairs if reached < len(phrase)), default=0)

    def next_token(self, progress: Progress, turn: int) -> int | None:
        """Return the token to be offered next: the next of the phrase begun, or the first of a missing one, by turns."""
        missing = [i for i, phrase in enumerate(self.phrases) if progress[i] < len(phrase)]
        if not missing:
            return None
        begun = max(missing, key=lambda i: progress[i])
        chosen = begun if progress[begun] else missing[turn % len(missing)]
        return self.phrases[chosen][progress[chosen]]

    def _goes_on(self, following: Sequence[int]) -> bool:
        """Say whether the next token, if there is one, makes a phrase part of another word."""
        return any(token in self.continuing for token in following)

    def _found(self, phrase: tuple[int, ...], tokens: tuple[int, ...]) -> int:
        size = len(phrase)
        for end in range(size, len(tokens) + 1):
            if tokens[end - size : end] == phrase and not self._goes_on(tokens[end : end + 1]):
                return size
        return next(n for n in range(min(size - 1, len(tokens)), -1, -1) if tokens[len(tokens) - n :] == phrase[:n])


def _advance(phrase: tuple[int, ...], reached: int, token: int) -> int:
    """Return how much of a phrase a hypothesis ends with after one more token (Knuth, Morris and Pratt 1977)."""
    if reached == len(phrase):
        return reached
    while reached and phrase[reached] != token:
        reached = _border(phrase[:reached])
    return reached + (phrase[reached] == token)


def _border(tokens: Sequence[int]) -> int:
    """Return the length of the longest proper beginning of `tokens` that is also its end."""
    return next(size for size in range(len(tokens) - 1, -1, -1) if tokens[:size] == tokens[len(tokens) - size :])


def share_out(score: NDArray[np.float64], bank: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    """Choose continuations for a beam whose places are shared out between banks.

    Every bank with candidates gets the same number of places, the highest ones the remainder; what a bank leaves free goes to the
    best that are left over. With room for all, all are chosen.

    Args:
        score: (n,) float64, none of them -inf.
        bank: (n,) int64.
        places: how many to choose at most.

    Returns:
        the chosen positions, best score first, ties to the earlier position.
    """
    best_first = np.argsort(-score, kind="stable")
    banks = np.unique(bank)[::-1]  # highest first
    share, remainder = divmod(places, len(banks)) if len(banks) else (0, 0)
    chosen = np.zeros(len(score), np.bool_)
    for number, value in enumerate(banks.tolist()):
        of_bank = best_first[bank[best_first] == value]
        chosen[of_bank[: share + (number < remainder)]] = True
    left_over = best_first[~chosen[best_first]]
    chosen[left_over[: places - int(chosen.sum())]] = True
    return best_first[chosen[best_first]]
