"""What a sampled answer is worth, compared with what people wrote: its CIDEr-D, and its part in a corpus's BLEU; plain Python.

`beamstep evaluate` has the metrics of whole corpora (export/evaluation); tests hold what is here to them.
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


@dataclass(frozen=True)
class BleuCounts:
    """What BLEU sums over a corpus (Papineni et al. 2002), of one candidate or of many.

    Attributes:
        matches: n-grams that are in a reference, each at most as often as in any one reference; orders 1 to 4.
        tries: n-grams; orders 1 to 4.
        reference_length: of the reference nearest in length, the shorter of two as near.
    """

    matches: tuple[int, ...]
    tries: tuple[int, ...]
    reference_length: int

    @classmethod
    def total(cls, counts: Sequence["BleuCounts"]) -> "BleuCounts":
        """Return the corpus's."""
        matches = tuple(sum(column) for column in zip(*(one.matches for one in counts), strict=True))
        tries = tuple(sum(column) for column in zip(*(one.tries for one in counts), strict=True))
        return cls(matches, tries, sum(one.reference_length for one in counts))

    @property
    def too_short(self) -> bool:
        """Whether there is a brevity penalty."""
        return self.tries[0] < self.reference_length

    def log_bleu(self) -> float:
        """Return the log of BLEU-4, every order counting one more match and one more try (Lin and Och 2004)."""
        pairs = zip(self.matches, self.tries, strict=True)
        precision = sum(math.log((matched + 1) / (tried + 1)) for matched, tried in pairs) / MAX_ORDER
        return precision + (1 - self.reference_length / max(1, self.tries[0]) if self.too_short else 0.0)


def count_for_bleu(candidates: Sequence[Words], references: Sequence[Words]) -> list[BleuCounts]:
    """Count for each candidate for one source."""
    most: dict[Words, int] = {}
    for words in references:
        for ngram, count in count_ngrams(words).items():
            most[ngram] = max(count, most.get(ngram, 0))
    lengths = [len(words) for words in references]
    return [_count_for_bleu(words, most, lengths) for words in candidates]


def _count_for_bleu(words: Words, most: Ngrams, lengths: Sequence[int]) -> BleuCounts:
    """Count for one candidate; `most` has the largest count of each n-gram in any one reference."""
    matches = [0] * MAX_ORDER
    for ngram, count in count_ngrams(words).items():
        matches[len(ngram) - 1] += min(count, most.get(ngram, 0))
    tries = tuple(max(0, len(words) - order) for order in range(MAX_ORDER))
    return BleuCounts(tuple(matches), tries, min(lengths, key=lambda length: (abs(length - len(words)), length)))


def bleu_gains(corpus: Sequence[BleuCounts]) -> list[float]:
    """Return by how much each candidate moves the log of the corpus's BLEU-4, times their number: the first-order term.

    BLEU is of a corpus, and the BLEU of single sentences rewards other captions than it does, shorter ones above all. The linear
    form is Tromble et al. 2008's (Lattice Minimum Bayes-Risk Decoding, eq. 6), with the brevity penalty kept: with M_n matches,
    T_n tries, C words and R of the references in the whole corpus, and m_n, t_n, c, r in one candidate,

        gain = N (sum over n of (m_n / M_n - t_n / T_n) / 4  +  [C < R] (R / C) (c / C - r / R)).
    """
    whole = BleuCounts.total(corpus)
    gains = []
    for one in corpus:
        columns = zip(one.matches, whole.matches, one.tries, whole.tries, strict=True)
        gain = sum(m / (all_m + 1) - t / (all_t + 1) for m, all_m, t, all_t in columns) / MAX_ORDER
        if whole.too_short:
            words, target = max(1, whole.tries[0]), whole.reference_length
            gain += target / words * (one.tries[0] / words - one.reference_length / target)
        gains.append(len(corpus) * gain)
    return gains
