"""Random requests: what one may ask of the search, with its rules written a second time in plain Python.

Every choice comes from a `random.Random`, so that a request is known by a seed, in loops and under Hypothesis alike: what is
to be mixed evenly shrinks badly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from serving.decoding.bans import NoRepeatedNgram, SuppressedPhrases, SuppressedTokens, all_of
from serving.decoding.constraints import Constraint, HullConstraint
from serving.decoding.options import DecodingOptions, LengthNormalization, Sampling
from serving.decoding.phrases import RequiredPhrases
from tests.fakes.markov import FIRST, SPECIAL

Tokens = tuple[int, ...]

PIECES: Final = ("<pad>", "<s>", "</s>", "▁a", "▁b", "a", "▁ab", "b", "▁")
"""The tokens as pieces of text; 5 and 7 go on with a word."""
CONTINUING: Final = tuple(token for token, piece in enumerate(PIECES) if piece.isalpha())
PHRASES: Final = ("▁a", "▁ab", "▁aa", "▁a▁b", "▁b▁ab")

KINDS: Final = (
    "hypothesis_count",
    "length_penalty",
    "coverage_penalty",
    "patience",
    "repetition_penalty",
    "min_length",
    "prefix",
    "scored",
    "alternatives",
    "required",
    "sampling",
    "attention",
    "suppressed_tokens",
    "suppressed_phrases",
    "ngram",
    "hull",
)
"""What can be wished for beside a beam and a maximum length."""
SEARCHED: Final = tuple(kind for kind in KINDS if kind not in ("sampling", "scored"))


@dataclass(frozen=True)
class Wish:
    """One request: its options, and what it rules out.

    Attributes:
        suppressed: tokens.
        ngram: the size of what may not come twice; 0 is off.
        phrases: texts that may not come, `▁` for spaces.
        hull: whether the rules of a convex hull hold as well.
    """

    options: DecodingOptions
    suppressed: Tokens = ()
    ngram: int = 0
    phrases: tuple[str, ...] = ()
    hull: bool = field(default=False)

    @property
    def constraint(self) -> Constraint | None:
        """Return the rules as serving knows them."""
        rules: list[Constraint] = [HullConstraint(SPECIAL)] if self.hull else []
        if self.suppressed:
            rules.append(SuppressedTokens(self.suppressed))
        if self.ngram:
            rules.append(NoRepeatedNgram(self.ngram, SPECIAL.pad))
        if self.phrases:
            ids = {piece: token for token, piece in enumerate(PIECES[: self.options.vocabulary_size])}
            rules.append(SuppressedPhrases.of(self.phrases, ids, PIECES, SPECIAL.pad))
        return all_of(rules)

    def allows(self, tokens: Tokens, following: int) -> bool:
        """Say whether `following` may come after `tokens`; forced tokens are not asked about."""
        after = (*tokens, following)
        grams = [after[at : at + self.ngram] for at in range(len(after) - self.ngram + 1)] if self.ngram else []
        if following == SPECIAL.eos:
            too_short = len(tokens) < max(self.options.min_length, 3 if self.hull else 0)
            return not (too_short or missing(self.options, tokens))
        return not (
            following in self.suppressed
            or (bool(grams) and grams[-1] in grams[:-1])
            or any("".join(PIECES[token] for token in after).endswith(phrase) for phrase in self.phrases)
            or (self.hull and following in tokens)
            or (following in _continuing(self.options) and just_completed(self.options, tokens))
        )

    def well_formed(self, tokens: Tokens) -> bool:
        """Say whether an answer, `eos` included where it has one, is one that the wish allows, token by token."""
        forced = self.options.forced
        return all(
            token == forced[place] if place < len(forced) else self.allows(tokens[:place], token)
            for place, token in enumerate(tokens)
        )


def completed_at(options: DecodingOptions, tokens: Tokens) -> list[int | None]:
    """Return how many tokens it took to hold each required phrase as whole words; None where it is missing."""
    required, forced = options.required, len(options.prefix)
    if required is None:
        return []
    ends = []
    for phrase in required.phrases:
        occurrences = [
            end
            for end in range(len(phrase), len(tokens) + 1)
            if tokens[end - len(phrase) : end] == phrase
            # A prefix may go on with the word; what is searched for may not, see `Wish.allows`.
            and not (end < min(forced, len(tokens)) and tokens[end] in required.continuing)
        ]
        ends.append(occurrences[0] if occurrences else None)
    return ends


def missing(options: DecodingOptions, tokens: Tokens) -> bool:
    """Say whether an answer lacks a required phrase."""
    return None in completed_at(options, tokens)


def just_completed(options: DecodingOptions, tokens: Tokens) -> bool:
    """Say whether the last token completed a required phrase."""
    return len(tokens) in completed_at(options, tokens)


def _continuing(options: DecodingOptions) -> Tokens:
    return () if options.required is None else options.required.continuing


def random_wish(
    random: Random,
    vocabulary_size: int,
    *,
    beam_sizes: tuple[int, int] = (1, 6),
    lengths: tuple[int, int] = (1, 8),
    kinds: Sequence[str] = KINDS,
    share: float = 0.3,
) -> Wish:
    """Draw a request.

    Args:
        random: where every choice comes from.
        vocabulary_size: of the targets; up to `len(PIECES)`.
        beam_sizes: the narrowest and the widest beam.
        lengths: the smallest and the largest `max_length`.
        kinds: what may be wished for.
        share: how often each of them is.
    """
    asked = {kind for kind in kinds if random.random() < share}
    for one, others in (
        ("scored", ("alternatives", "required", "sampling", "prefix", "patience")),
        ("sampling", ("alternatives", "required", "patience")),
        ("alternatives", ("required",)),
    ):
        asked -= set(others) if one in asked else set()
    beam_size = 1 if "scored" in asked else random.randint(*beam_sizes)
    max_length = random.randint(*lengths)
    meaningful = range(FIRST, vocabulary_size)
    prefix = tuple(random.choice(meaningful) for _ in range(random.randint(0, min(3, max_length))))
    required = _random_phrases(random, meaningful, max_length) if "required" in asked else None
    if "sampling" in asked:
        count = beam_size
    else:
        count = random.randint(1, beam_size) if asked & {"hypothesis_count", "alternatives"} else 1
    options = DecodingOptions(
        beam_size=beam_size,
        max_length=max_length,
        vocabulary_size=vocabulary_size,
        special=SPECIAL,
        hypothesis_count=count,
        length_penalty=random.choice([0.3, 1.0, 2.5]) if "length_penalty" in asked else 0.0,
        length_normalization=random.choice(list(LengthNormalization)),
        coverage_penalty=random.choice([0.05, 0.4, 3.0]) if "coverage_penalty" in asked else 0.0,
        patience=random.choice([0.1, 0.5, 1.0, 1.4, 3.0]) if "patience" in asked else None,
        repetition_penalty=random.choice([1.1, 1.7, 10.0]) if "repetition_penalty" in asked else 1.0,
        min_length=random.randint(0, max_length) if "min_length" in asked else 0,
        prefix=prefix if asked & {"prefix", "scored"} else (),
        scored="scored" in asked,
        alternatives="alternatives" in asked,
        required=required,
        sampling=_random_sampling(random) if "sampling" in asked else None,
        attention="attention" in asked,
    )
    return Wish(
        options,
        suppressed=tuple(random.choice(meaningful) for _ in range(2)) if "suppressed_tokens" in asked else (),
        ngram=random.randint(1, 3) if "ngram" in asked else 0,
        phrases=tuple(random.choice(PHRASES) for _ in range(2)) if "suppressed_phrases" in asked else (),
        hull="hull" in asked,
    )


def _random_phrases(random: Random, meaningful: range, most: int) -> RequiredPhrases:
    """Draw one to three phrases that have up to `most` tokens together; of two tokens alone, half of the time, that overlap."""
    among = random.choice([list(meaningful), random.choices(meaningful, k=2)])
    phrases: list[Tokens] = []
    for _ in range(random.randint(1, 3)):
        room = most - sum(map(len, phrases))
        if room:
            phrases.append(tuple(random.choice(among) for _ in range(random.randint(1, min(4, room)))))
    continuing = [token for token in CONTINUING if token in meaningful]
    return RequiredPhrases(tuple(dict.fromkeys(phrases)), tuple(random.choice([[], continuing])))


def _random_sampling(random: Random) -> Sampling:
    return Sampling(
        seed=random.randint(0, 2**63 - 1),
        temperature=random.choice([0.5, 1.0, 3.0]),
        top_k=random.choice([1, 2, 5, 50]),
        top_p=random.choice([0.3, 0.9, 1.0]),
    )
