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

    def after(self, prefix: Sequence[int]) -> tuple[Progress, bool]:
        """Return the progress of a hypothesis that begins with `prefix`, and whether its last token completed a phrase."""
        found = [(phrase, self._end(phrase, tuple(prefix))) for phrase in self.phrases]
        progress = tuple(_begun(phrase, tuple(prefix)) if end is None else len(phrase) for phrase, end in found)
        return self._next_word(progress, completed=len(prefix) in [end for _, end in found])

    def advance(self, progress: Progress, token: int) -> tuple[Progress, bool]:
        """Return the progress after one more token, and whether it completed a phrase: no continuing one may follow then."""
        after = tuple(_advance(phrase, reached, token) for phrase, reached in zip(self.phrases, progress, strict=True))
        pairs = zip(self.phrases, progress, after, strict=True)
        return self._next_word(after, completed=any(had < len(phrase) == has for phrase, had, has in pairs))

    def complete(self, progress: Progress) -> bool:
        """Say whether a hypothesis may end: no phrase is missing."""
        return all(reached == len(phrase) for phrase, reached in zip(self.phrases, progress, strict=True))

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

    def _next_word(self, progress: Progress, *, completed: bool) -> tuple[Progress, bool]:
        """Forget what was begun and cannot go on, where a phrase was completed: the next token begins a word."""
        if not completed:
            return progress, False
        pairs = zip(self.phrases, progress, strict=True)
        return tuple(self._at_word_end(phrase, reached) for phrase, reached in pairs), True

    def _at_word_end(self, phrase: tuple[int, ...], reached: int) -> int:
        """Return how much of a phrase is begun where its next token may not be a continuing one."""
        while 0 < reached < len(phrase) and phrase[reached] in self.continuing:
            reached = _border(phrase[:reached])
        return reached

    def _end(self, phrase: tuple[int, ...], tokens: tuple[int, ...]) -> int | None:
        """Return how many tokens it took to hold a phrase that is no part of a longer word; None where it is missing."""
        for end in range(len(phrase), len(tokens) + 1):
            following = tokens[end : end + 1]
            if tokens[end - len(phrase) : end] == phrase and not any(token in self.continuing for token in following):
                return end
        return None


def _begun(phrase: tuple[int, ...], tokens: tuple[int, ...]) -> int:
    """Return how many tokens of a phrase that is missing `tokens` ends with."""
    most = min(len(phrase) - 1, len(tokens))
    return next(size for size in range(most, -1, -1) if tokens[len(tokens) - size :] == phrase[:size])


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
