"""Corpus metrics of translation: BLEU on lower-cased Moses tokens, BLEU as sacreBLEU defines it, and chrF."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacremoses import MosesTokenizer
from sacremoses.corpus import NonbreakingPrefixes

from serving.errors import BadConfiguration

DEFAULT_LANGUAGE = "de"


@dataclass(frozen=True)
class TranslationScores:
    """Scores of a corpus in percent, and how they were computed.

    Attributes:
        bleu_lower_tokenized: BLEU-4 (Papineni et al. 2002) on lower-cased Moses tokens of both sides.
        bleu_13a: BLEU-4 on raw, cased text with sacreBLEU's own tokenizer (Post 2018).
        chrf: chrF2 (Popović 2015) on raw text.
        notes: one line a metric: tokenizer and signature.
    """

    bleu_lower_tokenized: float
    bleu_13a: float
    chrf: float
    notes: tuple[str, ...]


def score_translations(hypotheses: Sequence[str], references: Sequence[str], language: str) -> TranslationScores:
    """Score translations against one reference each.

    Args:
        hypotheses: detokenised and cased, one a sentence; an empty one counts as a missing translation.
        references: as many, in the same order.
        language: whose Moses rules tokenise both sides.
    """
    tokenized = BLEU(tokenize="none", force=True)  # force: no warning that the text is already tokenised
    default, chrf = BLEU(), CHRF()
    moses = MosesTokenizer(lang=language)
    tokens = [[lower_moses_tokens(moses, text) for text in side] for side in (hypotheses, references)]
    scores = (
        tokenized.corpus_score(tokens[0], [tokens[1]]).score,
        default.corpus_score(hypotheses, [references]).score,
        chrf.corpus_score(hypotheses, [references]).score,
    )
    notes = (
        f"bleu_lower_tokenized: sacremoses tokens ({language}) of lower-cased text on both sides, {tokenized.get_signature()}",
        f"bleu_13a: {default.get_signature()}",
        f"chrf: {chrf.get_signature()}",
    )
    return TranslationScores(*scores, notes)


def lower_moses_tokens(moses: MosesTokenizer, text: str) -> str:
    """Lower-case, then tokenise: Moses' default rules, no punctuation normaliser, no dash splitting, no HTML escapes."""
    tokens: str = moses.tokenize(text.lower(), escape=False, return_str=True)
    return tokens


def target_language(name: str, given: str | None) -> str:
    """Return the language to tokenise: the given one, else the last part of a name such as `translation-en-de`, else German.

    Raises:
        BadConfiguration: Moses has no rules for the given language.
    """
    known = set(NonbreakingPrefixes().available_langs.values())
    if given is not None:
        if given not in known:
            raise BadConfiguration(f"--target-language: {given!r}; allowed: {', '.join(sorted(known))}")
        return given
    named = re.search(r"-[a-z]{2}-([a-z]{2})$", name)
    return named[1] if named and named[1] in known else DEFAULT_LANGUAGE
