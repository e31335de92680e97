"""A running search's text: what is certain, in whole words, and how it goes on at the moment."""

from typing import NamedTuple

from serving.decoding.request import Progress
from serving.tasks.text import Tokenizer


class TextPart(NamedTuple):
    """What one message of a stream says, its fields named as the proto's.

    Attributes:
        committed_text: what has become certain since the part before; all of them one after the other are a beginning of the
            final text.
        tentative_text: how the best hypothesis goes on after it at the moment.
        revision: the number of the part, from 1.
    """

    committed_text: str
    tentative_text: str
    revision: int


class TextParts:
    """Makes the progress of one request into parts; remembers what it has committed."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._committed = ""
        self._tentative = ""
        self._revision = 0

    def next(self, progress: Progress) -> TextPart | None:
        """Return the next part; None where it would say nothing new.

        A word is whole when the token after it begins another. The tentative text may end within a word, but never within a
        character.
        """
        certain = self._whole_words(progress)
        text = self._tokenizer.decode(progress.tokens[:certain])
        shown = self._tokenizer.decode(progress.tokens[: self._tokenizer.whole_characters(progress.tokens)])
        tentative = shown.removeprefix(text)
        if text == self._committed and tentative == self._tentative:
            return None
        return self._part(text, tentative)

    def last(self, text: str) -> TextPart:
        """Return the last part, which commits the rest of the final text."""
        return self._part(text, "")

    def _whole_words(self, progress: Progress) -> int:
        """Return how many of the certain tokens are whole words."""
        beginnings = (n for n in range(progress.certain - 1, 0, -1) if self._tokenizer.begins_word(progress.tokens[n]))
        return next(beginnings, 0)

    def _part(self, text: str, tentative: str) -> TextPart:
        new = text[len(self._committed) :]
        self._committed, self._tentative = text, tentative
        self._revision += 1
        return TextPart(new, tentative, self._revision)
