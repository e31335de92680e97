"""What is translated: Multi30k's test_2016 where there is a data folder, else sentences made from a word list."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.table import NotMeasuredError
from benchmarks.workload import LENGTHS, sentence
from export.evaluation.lines import BadData
from export.evaluation.parallel_text import read_parallel_text
from export.evaluation.translation_metrics import score_translations

TEST: Final = "multi30k/test_2016_flickr"
MADE: Final = 1000


@dataclass(frozen=True)
class Sentences:
    """English sentences, and their German where it is known.

    Attributes:
        texts: at least one.
        references: as many; None where nobody translated them.
    """

    texts: tuple[str, ...]
    references: tuple[str, ...] | None

    def bleu(self, answers: list[str]) -> dict[str, float]:
        """Return BLEU on lower-cased Moses tokens as a figure; none where there are no references."""
        if self.references is None:
            return {}
        return {"BLEU": score_translations(answers, self.references, "de").bleu_lower_tokenized}


def sentences(data: Path | None) -> Sentences:
    """Return test_2016 of a data folder, or as many made ones with the words of captions.

    Raises:
        NotMeasuredError: the folder does not have it.
    """
    if data is not None:
        try:
            text = read_parallel_text(data / f"{TEST}.en.gz", data / f"{TEST}.de.gz")
        except BadData as error:
            raise NotMeasuredError(f"--data: {error}") from None
        return Sentences(text.sources, text.references)
    generator = random.Random(0)
    lengths = [LENGTHS[place % len(LENGTHS)] for place in range(MADE)]
    return Sentences(tuple(sentence(length, lambda text: len(text.split()), generator) for length in lengths), None)
