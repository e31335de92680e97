"""Text to subword ids and back."""

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import sentencepiece

from serving.errors import BadBundle, InvalidRequest

CHARACTER_LIMIT: Final = 10_000
"""Most characters of a text: what is far beyond any model's limit in pieces is refused before it is cut into them."""

SPACE: Final = "▁"
"""What sentencepiece writes for a space."""


class Tokenizer:
    """A bundle's sentencepiece model; safe to use from several threads.

    Attributes:
        size: how many ids it has.
    """

    def __init__(self, path: Path) -> None:
        """Open a `.model` file.

        Raises:
            BadBundle: it is none.
        """
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise BadBundle(f"{path}: not a sentencepiece model: {error}") from None
        self.size = int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without `bos` and `eos`; none where normalisation leaves nothing."""
        return list(self._processor.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, which hold no `bos`, `eos` or `pad`."""
        return str(self._processor.decode(list(ids)))

    def surfaces(self, text: str) -> list[str]:
        """Return the pieces of `text` as they stand in it, normalised and with `▁` for spaces; those unknown too."""
        return [str(piece) for piece in self._processor.encode(text, out_type=str)]

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Return every id's piece."""
        return tuple(str(self._processor.id_to_piece(token)) for token in range(self.size))

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Return the id of every piece that stands for text, as those for padding or the end of the sequence do not."""
        processor = self._processor
        return {
            piece: token
            for token, piece in enumerate(self.vocabulary)
            if not (processor.is_control(token) or processor.is_unknown(token))
        }

    @cached_property
    def continuing(self) -> tuple[int, ...]:
        """Return the ids of the pieces that go on with a word: their first character is a letter or a digit."""
        return tuple(token for token, piece in enumerate(self.vocabulary) if piece[:1].isalnum())

    def begins_word(self, token: int) -> bool:
        """Say whether all before this token is whole words: it begins with a space, or is of a script that has none."""
        first = self.vocabulary[token][:1]
        wide = first.isalnum() and unicodedata.east_asian_width(first) == "W"
        return first == SPACE or (wide and not unicodedata.name(first, "").startswith("HANGUL"))  # Korean has spaces

    def whole_characters(self, ids: Sequence[int]) -> int:
        """Return how many of `ids` can be decoded without a character cut in two, as pieces of single bytes can leave it."""
        count = len(ids)
        while count and self._processor.is_byte(int(ids[count - 1])):
            count -= 1
        return count

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return each id as text, `▁` standing for a space."""
        return [self.vocabulary[token] for token in ids]


def encode_text(text: str, tokenizer: Tokenizer, eos: int, limit: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the encoder's (S,) int64 positions: the pieces of `text`, then `eos`.

    Args:
        text: anything; control characters and unknown ones become what the tokenizer makes of them.
        tokenizer: the source side's.
        eos: its id.
        limit: most positions, `eos` counted.

    Raises:
        InvalidRequest: `text` has nothing to translate in it, or too much.
    """
    if len(text) > CHARACTER_LIMIT:
        raise InvalidRequest("text", f"{len(text):,} characters", f"up to {CHARACTER_LIMIT:,} characters")
    if not text.strip():
        given = f"{len(text)} characters of white space" if text else "empty"
        raise InvalidRequest("text", given, "at least one character that is not white space")
    ids = tokenizer.encode(text)
    if not ids:
        raise InvalidRequest("text", "only characters that the model drops", "at least one that it reads")
    if len(ids) + 1 > limit:
        raise InvalidRequest(
            "text", f"{len(ids)} subword pieces", f"up to {limit - 1} subword pieces; send shorter texts"
        )
    return np.array([*ids, eos], dtype=np.int64)
