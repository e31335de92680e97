"""Corpus metrics of captioning against several references an image: BLEU-1 to BLEU-4 and CIDEr, as COCO's evaluation has them."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from sacrebleu.metrics.bleu import BLEU

Tokens = tuple[str, ...]
Ngram = tuple[str, ...]

MAX_ORDER = 4
CIDER_SIGMA = 6.0

_CONTRACTION = r"'(?:s|m|d|ll|re|ve)\b"
_WORD = re.compile(rf"\w+(?:[-'./&]\w+)*|{_CONTRACTION}")
_BEFORE_CONTRACTION = re.compile(rf"(?<=\w)(?=n't\b|{_CONTRACTION})")


@dataclass(frozen=True)
class CaptionScores:
    """Scores of a corpus.

    Attributes:
        bleu: cumulative BLEU-1, -2, -3 and -4 in percent.
        cider: CIDEr-D times 100, the scale of published tables (coco-caption prints it undivided, from 0 to 10).
    """

    bleu: tuple[float, float, float, float]
    cider: float


def score_captions(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Score one caption an image against that image's references, at least one each; both sides raw text."""
    candidates = [caption_tokens(text) for text in hypotheses]
    targets = [[caption_tokens(text) for text in texts] for texts in references]
    bleu1, bleu2, bleu3, bleu4 = (corpus_bleu(candidates, targets, order) for order in range(1, MAX_ORDER + 1))
    return CaptionScores((bleu1, bleu2, bleu3, bleu4), 100 * cider_d(candidates, targets))


def caption_tokens(text: str) -> Tokens:
    """Split a caption as COCO's evaluation does: lower case, contractions apart as in the Penn Treebank, no punctuation.

    A regular expression in place of Stanford's Java tokenizer: words keep inner hyphens, dots, slashes and apostrophes.
    """
    lower = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return tuple(_WORD.findall(_BEFORE_CONTRACTION.sub(" ", lower)))


def corpus_bleu(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]], order: int) -> float:
    """Return cumulative BLEU of up to `order`-grams in percent, without smoothing (Papineni et al. 2002).

    The brevity penalty takes the reference closest in length, the shorter of two as close. References may differ in number.
    """
    bleu = BLEU(tokenize="none", force=True, smooth_method="none", max_ngram_order=order)
    columns = zip_longest(*([" ".join(tokens) for tokens in group] for group in references))
    result = bleu.corpus_score([" ".join(tokens) for tokens in candidates], [list(column) for column in columns])
    return float(result.score)


def cider_d(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> float:
    """Return CIDEr-D, from 0 to 10: the similarity of tf-idf weighted n-grams (Vedantam et al. 2015, eq. 1 to 4 and section 7).

    An n-gram's document frequency is the number of evaluated images that have it in a reference. Against each reference: the
    cosine of the two n-gram vectors, the candidate's counts clipped to the reference's, times exp(-(l_c - l_s)^2 / (2 sigma^2))
    of the lengths; then the mean over references and orders 1 to 4, times 10. Words are not stemmed, as in coco-caption.
    """
    frequencies = Counter(
        ngram for group in references for ngram in {ngram for tokens in group for ngram in _ngrams(tokens)}
    )
    images = math.log(len(references))
    inverse = {ngram: images - math.log(count) for ngram, count in frequencies.items()}
    scores = [_cider_d_of_image(one, group, inverse, images) for one, group in zip(candidates, references, strict=True)]
    return sum(scores) / len(scores)


def _cider_d_of_image(
    candidate: Tokens, references: Sequence[Tokens], inverse: dict[Ngram, float], unseen: float
) -> float:
    """Score one candidate; `unseen` weighs an n-gram that no reference of the corpus has."""
    vector = _tf_idf(candidate, inverse, unseen)
    total = 0.0
    for reference in references:
        similarity = _clipped_cosines(vector, _tf_idf(reference, inverse, unseen))
        difference = len(candidate) - len(reference)
        total += similarity * math.exp(-(difference**2) / (2 * CIDER_SIGMA**2))
    return 10 * total / len(references)


def _clipped_cosines(candidate: dict[Ngram, float], reference: dict[Ngram, float]) -> float:
    """Return the mean over orders of the cosine in which no candidate weight exceeds the reference's."""
    cosines = 0.0
    for order in range(1, MAX_ORDER + 1):
        ours, theirs = ({n: w for n, w in vector.items() if len(n) == order} for vector in (candidate, reference))
        product = sum(min(weight, theirs[ngram]) * theirs[ngram] for ngram, weight in ours.items() if ngram in theirs)
        norms = math.hypot(*ours.values()) * math.hypot(*theirs.values())
        cosines += product / norms if norms else 0.0
    return cosines / MAX_ORDER


def _tf_idf(tokens: Tokens, inverse: dict[Ngram, float], unseen: float) -> dict[Ngram, float]:
    """Weigh every n-gram by its count; the count's norm cancels in the cosine, and coco-caption leaves it out too."""
    return {ngram: count * inverse.get(ngram, unseen) for ngram, count in _ngrams(tokens).items()}


def _ngrams(tokens: Tokens) -> Counter[Ngram]:
    return Counter(
        tokens[start : start + order] for order in range(1, MAX_ORDER + 1) for start in range(len(tokens) - order + 1)
    )
