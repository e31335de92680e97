"""Requests to measure with: sentences as in Multi30k, made from a word list to an exact length, and how long their answers are.

Nothing is read from disk, so that every machine measures the same requests.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from serving.errors import InvalidRequest
from serving.tasks.translation import Translation

LENGTHS: Final = (
    *(7, 8, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 13, 13, 13),
    *(14, 14, 14, 15, 15, 15, 16, 16, 17, 17, 18, 19, 20, 21, 23, 27),
)
"""The middles of 32 equal shares of Multi30k's 29,000 English training sentences by length, in pieces of the shipped bundle."""
SHORT: Final = 14
"""The mean of LENGTHS."""
LONG: Final = 10 * SHORT
LONG_LENGTHS: Final = (90, 120, 150, 200)
"""Ten times four of LENGTHS, an eighth, three, five and seven eighths of the way up."""

WORDS: Final = tuple(
    kind.split()
    for kind in (
        "a the two three one some another several",
        "young white black blue red green yellow brown large small little old tall smiling happy",
        "man woman boy girl dog child people player group lady crowd worker couple cat horse bird",
        "is sits stands walks runs plays looks jumps waits sleeps sings rides works dances eats",
        "in on with near behind under over by through from at next to",
        "the a his her their one",
        "street water beach field snow grass building table bench park house city road wall tree car",
        "and while as",
    )
)
"""Kinds of words in the order of a caption; after the last comes the first again."""
_WORDS_TRIED: Final = 50
_SENTENCES_TRIED: Final = 20


@dataclass(frozen=True)
class Request:
    """One sentence to translate.

    Attributes:
        text: the sentence.
        pieces: its length, `eos` not counted.
        answer_length: tokens of the answer, `eos` not counted; None leaves it to the model.
        banning: whether `eos` must be banned for that, which a model that never says it does not need.
        beam_size: K.
        everything: whether the answer brings all it can: n-best, as many as the beam, and attention.
    """

    text: str
    pieces: int
    answer_length: int | None
    banning: bool = True
    beam_size: int = 5
    everything: bool = False

    @property
    def min_length(self) -> int | None:
        """Return the option of that name; None leaves it out."""
        return self.answer_length if self.banning else None

    @property
    def hypothesis_count(self) -> int | None:
        """Return the option of that name; None leaves it out."""
        return self.beam_size if self.everything else None


class Workload:
    """Makes requests for one bundle; the same seed makes the same ones."""

    def __init__(self, task: Translation, *, ends: bool, seed: int = 0) -> None:
        """Make requests for a bundle.

        Args:
            task: counts pieces.
            ends: whether the model says `eos` by itself.
            seed: of the words.
        """
        self._task = task
        self._ends = ends
        self._random = random.Random(seed)
        self._most_pieces = task.bundle.manifest.limits.source_length - 1

    def requests(self, lengths: Iterable[int]) -> list[Request]:
        """Return sentences of these lengths whose answers are as long; a source longer than the model takes is cut."""
        return [self.request(length, length) for length in lengths]

    def natural(self, lengths: Iterable[int]) -> list[Request]:
        """Return sentences of these lengths whose answers end where the model ends them, where it does."""
        return [self.request(length, None if self._ends else length) for length in lengths]

    def request(self, pieces: int, answer_length: int | None) -> Request:
        """Return a sentence of so many pieces, or as many as the model takes, whose answer has so many tokens."""
        pieces = min(pieces, self._most_pieces)
        return Request(sentence(pieces, self._count, self._random), pieces, answer_length, banning=self._ends)

    def mixed(self) -> list[Request]:
        """Return 32 requests in random order: 28 as long as Multi30k's, 4 of ten times the length."""
        some = [length for place, length in enumerate(LENGTHS) if place % 8 != 4]
        return self.requests(self._shuffled((*some, *LONG_LENGTHS)))

    def mixed_under_way(self, clients: int) -> list[Request]:
        """Return what `clients` clients would be found at after a long run of `mixed`, each with a part of its answer to go.

        A client is with a long request for as much of its time as long requests hold of all tokens; begun with these, a run need
        not be waited for until it is like itself.
        """
        mixed = self.mixed()
        tokens = [request.answer_length or 0 for request in mixed]
        found = self._random.choices(mixed, weights=tokens, k=clients)
        return [self.request(found.pieces, self._random.randint(1, found.answer_length or 1)) for found in found]

    def under_way(self, length: int, clients: int) -> list[Request]:
        """Return one request a client whose answers end one after the other, evenly over `length` steps."""
        return [self.request(length, max(1, length * (place + 1) // clients)) for place in range(clients)]

    def _shuffled(self, lengths: Sequence[int]) -> list[int]:
        return self._random.sample(lengths, len(lengths))

    def _count(self, text: str) -> int:
        """Return the pieces of a text; of one that is too long, more than the model takes."""
        try:
            return self._task.source(text).length - 1
        except InvalidRequest:
            return self._most_pieces + 1


def sentence(pieces: int, count: Callable[[str], int], generator: random.Random) -> str:
    """Return words that look like a caption.

    Args:
        pieces: how long it is, in what `count` counts; from 3.
        count: says how long a text is.
        generator: chooses the words.

    Raises:
        ValueError: no words come out at that length.
    """
    for _ in range(_SENTENCES_TRIED):
        found = _grow(pieces, count, generator)
        if found is not None:
            return found
    raise ValueError(f"no sentence of {pieces} pieces was found")


def words() -> Iterator[str]:
    """Yield every word there is, once."""
    yield from dict.fromkeys(word for kind in WORDS for word in kind)


def _grow(pieces: int, count: Callable[[str], int], generator: random.Random) -> str | None:
    """Add words until the length is reached; None when it was jumped over whatever word was tried."""
    chosen: list[str] = []
    for kind in range(_WORDS_TRIED * pieces):
        text = " ".join([*chosen, generator.choice(WORDS[kind % len(WORDS)])]).capitalize() + "."
        length = count(text)
        if length == pieces:
            return text
        if length < pieces:
            chosen.append(text[:-1].split(" ")[-1].lower())
    return None
