"""What a sampled answer is worth, compared with what people wrote: CIDEr-D and BLEU of single sentences, in plain Python.

`beamstep evaluate` has the metrics of whole corpora (export/evaluation); a test holds CIDEr-D here to the one there. A reward
differs in two ways: an n-gram's document frequency is that of the training set and not of the batch, and BLEU is smoothed, for
most sentences have no four words in a row right.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Words = tuple[str, ...]
Ngrams = Mapping[Words, int]

MAX_ORDER = 4
CIDER_SIGMA = 6.0
END = "</s>"
"""Stands behind the last word of whatever ended by itself, so that a caption that breaks off in the middle is worth less:
without it, CIDEr rewards ends such as "in a" (Rennie et al. 2017 and most implementations since count it too)."""


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many sources' references an n-gram is.

    Attributes:
        sources: how many there are.
        counts: of n-grams in two or more; whatever else is asked for is weighed as if it were in one.
    """

    sources: int
    counts: Mapping[Words, int]

    @classmethod
    def of(cls, references: Iterable[Sequence[Words]]) -> "DocumentFrequencies":
        """Count the references of each source."""
        counts: Counter[Words] = Counter()
        sources = 0
        for group in references:
            counts.update({ngram for words in group for ngram in count_ngrams(words)})
            sources += 1
        return cls(sources, {ngram: count for ngram, count in counts.items() if count > 1})

    def weigh(self, ngrams: Ngrams) -> list[dict[Words, float]]:
        """Return the tf-idf vector of each order. Vedantam et al. 2015, eq. 1; the norm of the counts cancels later."""
        log_sources = math.log(self.sources)
        vectors: list[dict[Words, float]] = [{} for _ in range(MAX_ORDER)]
        for ngram, count in ngrams.items():
            vectors[len(ngram) - 1][ngram] = count * (log_sources - math.log(self.counts.get(ngram, 1)))
        return vectors


def count_ngrams(words: Words) -> Counter[Words]:
    """Count the n-grams of orders 1 to 4."""
    return Counter(
        words[start : start + order] for order in range(1, MAX_ORDER + 1) for start in range(len(words) - order + 1)
    )


def cider_d(candidates: Sequence[Words], references: Sequence[Words], frequencies: DocumentFrequencies) -> list[float]:
    """Return CIDEr-D of each candidate for one source, 0 to 10. Vedantam et al. 2015 (arXiv:1411.5726), section 7.

    The clipped cosine of tf-idf vectors, times a Gaussian of the difference in length; mean over references and orders.
    """
    theirs = [_Weighed.of(words, frequencies) for words in references]
    ours = [_Weighed.of(words, frequencies) for words in candidates]
    return [10 * sum(one.likeness(reference) for reference in theirs) / len(theirs) for one in ours]


@dataclass(frozen=True)
class _Weighed:
    """A sentence as CIDEr sees it: its length, and of each order the tf-idf vector and its norm."""

    length: int
    vectors: list[dict[Words, float]]
    norms: list[float]

    @classmethod
    def of(cls, words: Words, frequencies: DocumentFrequencies) -> "_Weighed":
        vectors = frequencies.weigh(count_ngrams(words))
        return cls(len(words), vectors, [math.hypot(*vector.values()) for vector in vectors])

    def likeness(self, reference: "_Weighed") -> float:
        """Return the mean over orders of the clipped cosine, less for another length."""
        total = 0.0
        sides = zip(self.vectors, reference.vectors, self.norms, reference.norms, strict=True)
        for ours, theirs, our_norm, their_norm in sides:
            if our_norm > 0 and their_norm > 0:
                shared = ours.keys() & theirs.keys()
                product = sum(min(ours[ngram], theirs[ngram]) * theirs[ngram] for ngram in shared)
                total += product / (our_norm * their_norm)
        difference = self.length - reference.length
        return total / MAX_ORDER * math.exp(-(difference**2) / (2 * CIDER_SIGMA**2))


def sentence_bleu(candidates: Sequence[Words], references: Sequence[Words]) -> list[float]:
    """Return BLEU-4 of each candidate for one source, 0 to 1; orders above 1 count one more match and one more try.

    Papineni et al. 2002, smoothed as in Lin and Och 2004 (ORANGE, section 4). The brevity penalty takes the reference nearest in
    length, the shorter of two as near.
    """
    most: dict[Words, int] = {}
    for words in references:
        for ngram, count in count_ngrams(words).items():
            most[ngram] = max(count, most.get(ngram, 0))
    lengths = [len(words) for words in references]
    return [_bleu(words, most, lengths) for words in candidates]


def _bleu(words: Words, most: Ngrams, lengths: Sequence[int]) -> float:
    """Return BLEU of one candidate; `most` has the largest count of each n-gram in any one reference."""
    matches = [0] * MAX_ORDER
    for ngram, count in count_ngrams(words).items():
        matches[len(ngram) - 1] += min(count, most.get(ngram, 0))
    if matches[0] == 0:
        return 0.0
    log_precision = math.log(matches[0] / len(words))
    for order in range(2, MAX_ORDER + 1):
        log_precision += math.log((matches[order - 1] + 1) / (max(0, len(words) - order + 1) + 1))
    nearest = min(lengths, key=lambda length: (abs(length - len(words)), length))
    return math.exp(log_precision / MAX_ORDER + min(0.0, 1 - nearest / len(words)))
