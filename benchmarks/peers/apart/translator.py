"""CTranslate2, asked by `benchmarks.peers.ctranslate2`: sentences in batches, or one at a time.

    python -m benchmarks.peers.apart.translator MODEL PIECES [--inter 2] [--intra 1]

MODEL is a converted model's folder, PIECES a sentencepiece model. Only translating is timed: sentences are cut into pieces when
they are given.
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import ctranslate2

from benchmarks.peers.apart.conversation import answer_questions
from benchmarks.peers.apart.pieces import Pieces

LENGTH_PENALTY: Final = 1.0
MOST_PIECES: Final = 100
LARGEST_BATCH: Final = 64
"""Of what CTranslate2 computes at once; it cuts larger ones."""


class Translator:
    """A model and the sentences it was given."""

    def __init__(self, model: Path, pieces: Path, inter: int, intra: int) -> None:
        """Load them.

        Args:
            model: the folder.
            pieces: the sentencepiece model.
            inter: batches translated at the same time.
            intra: threads of each.
        """
        self._pieces = Pieces(pieces)
        self._inter = inter
        self._model = ctranslate2.Translator(str(model), device="cpu", inter_threads=inter, intra_threads=intra)
        self._sources: list[list[str]] = []
        self._found: list[list[str]] = []

    def give(self, texts: Sequence[str]) -> None:
        """Take the sentences that are asked for from now on, and warm up on some."""
        self._sources = self._pieces.cut([self._pieces.tokens(text) for text in texts])
        self._translate(self._sources[:64], 5)

    def all(self, batch: int, beam_size: int) -> float:
        """Translate every sentence, `batch` in a call and `inter` calls at a time; return the seconds."""
        batches = [self._sources[first : first + batch] for first in range(0, len(self._sources), batch)]
        with ThreadPoolExecutor(self._inter) as threads:
            began = time.perf_counter()
            found = list(threads.map(lambda sources: self._translate(sources, beam_size), batches))
            seconds = time.perf_counter() - began
        self._found = [pieces for part in found for pieces in part]
        return seconds

    def singly(self, first: int, count: int, beam_size: int) -> list[float]:
        """Translate some sentences one after the other; return the seconds of each."""
        seconds = []
        for source in self._sources[first : first + count]:
            began = time.perf_counter()
            self._translate([source], beam_size)
            seconds.append(time.perf_counter() - began)
        return seconds

    def texts(self) -> list[str]:
        """Return what `all` found last."""
        return [self._pieces.text(self._pieces.joined(pieces)) for pieces in self._found]

    def _translate(self, sources: Sequence[Sequence[str]], beam_size: int) -> list[list[str]]:
        results = self._model.translate_batch(
            sources,
            beam_size=beam_size,
            length_penalty=LENGTH_PENALTY,
            max_batch_size=min(len(sources), LARGEST_BATCH),
            max_decoding_length=MOST_PIECES,
        )
        return [result.hypotheses[0] for result in results]


def main() -> None:
    """Load what the command line names, and answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("pieces", type=Path)
    parser.add_argument("--inter", type=int, default=2)
    parser.add_argument("--intra", type=int, default=1)
    given = parser.parse_args()
    made = Translator(given.model, given.pieces, given.inter, given.intra)
    answer_questions({"give": made.give, "all": made.all, "singly": made.singly, "texts": made.texts})


if __name__ == "__main__":
    main()
