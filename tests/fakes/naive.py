"""The search of `serving/decoding/beam.py` written the long way: one request, lists and plain Python, no bound to stop at.

What it does is taken from the protos and from what the docstrings say of ties, shares of a beam and tokens offered, not from the
code. It only knows `GlancingModel`, whose tables it reads itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.options import DecodingOptions, LengthNormalization
from serving.decoding.step import FloatArray
from tests.fakes.glancing import GlancingModel
from tests.fakes.markov import FIRST, SPECIAL
from tests.fakes.wishes import Tokens, Wish, completed_at, just_completed, missing

LEAST_ATTENTION: Final = 1e-6
BEHIND: Final = (FinishReason.MAX_LENGTH, FinishReason.DEAD_END)
"""Hypotheses that ended so stand behind the others."""


@dataclass(frozen=True)
class Live:
    """A hypothesis that goes on; `total` is what is searched by."""

    tokens: Tokens = ()
    log_probs: tuple[float, ...] = ()
    total: float = 0.0


@dataclass(frozen=True)
class Question:
    """One request to one chain of a model, its source so long."""

    model: GlancingModel
    chain: int
    length: int
    wish: Wish


class Naive:
    """One search."""

    def __init__(self, question: Question) -> None:
        self._model = question.model
        self._chain = question.chain
        self._length = question.length
        self._wish = question.wish
        self._options = question.wish.options

    def search(self, steps: int | None = None) -> list[Hypothesis]:
        """Return what is found in the end, or after so many steps."""
        options = self._options
        if not options.alternatives:
            return self._search([Live()], options, 0, steps)
        # Up to the token after the prefix a beam of one place an alternative; from there on each of them alone.
        first = replace(options, beam_size=options.hypothesis_count, patience=None)
        fork = len(options.prefix) + 1
        if fork > options.max_length or (steps is not None and steps < fork):
            return self._search([Live()], first, 0, steps)
        live, found = [Live()], []
        for step in range(fork):
            live, ended, _ = self._step(live, first, step)
            found += ended
        if not live:
            return self._search([Live()], first, 0, None)
        share = replace(options, beam_size=options.beam_size // options.hypothesis_count, hypothesis_count=1)
        for one in live:
            found += self._search([one], share, fork, steps)
        return sorted(found, key=lambda h: (h.finish_reason in BEHIND, -h.score))

    def _search(self, live: list[Live], options: DecodingOptions, first: int, steps: int | None) -> list[Hypothesis]:
        ended: list[Hypothesis] = []
        ended_count = 0
        enough = math.inf
        if options.patience is not None:
            # Rounded up, but 1.1 * 10 is 11 and not 11.000000000000002.
            enough = max(options.hypothesis_count, math.ceil(round(options.patience * options.beam_size, 9)))
        for step in range(first, options.max_length + 1):
            if step == steps:
                return self._filled(ended, live, FinishReason.DEADLINE, options)
            following, ended_now, others = self._step(live, options, step)
            ended += ended_now
            ended_count += len(ended_now)
            if ended_count >= enough:
                return self._filled(ended, [], FinishReason.MAX_LENGTH, options)
            if step == options.max_length:
                return self._filled(ended, others, FinishReason.MAX_LENGTH, options)
            if not following:
                return self._filled(ended, others, FinishReason.DEAD_END, options)
            live = following
        raise AssertionError("a search never outlives its maximum length")

    def _step(
        self, live: list[Live], options: DecodingOptions, step: int
    ) -> tuple[list[Live], list[Hypothesis], list[Live]]:
        """Return who lives on, what has ended, and those that did not end."""
        offered = [self._offered(one, options, step) for one in live]
        continuations = [
            (one, rank, place, token, log_prob)
            for rank, (one, tokens) in enumerate(zip(live, offered, strict=True))
            for place, (token, log_prob) in enumerate(tokens)
        ]
        scored = []
        for one, rank, place, token, log_prob in continuations:
            penalty = np.float32(options.repetition_penalty if token in one.tokens else 1)
            total = one.total + float(np.float32(log_prob) * penalty)
            scored.append((-total, rank, place, Live((*one.tokens, token), (*one.log_probs, log_prob), total)))
        scored.sort(key=lambda entry: entry[:3])
        chosen = self._shared_out(scored, options) if options.required is not None else scored[: options.beam_size]
        following = [one for *_, one in chosen if one.tokens[-1] != SPECIAL.eos]
        endings = [(rank, one) for _, rank, _, one in chosen if one.tokens[-1] == SPECIAL.eos]
        ended = [self._hypothesis(one, FinishReason.END_OF_SEQUENCE, options) for _, one in endings]
        ranks = {rank for rank, _ in endings}
        return following, ended, [one for rank, one in enumerate(live) if rank not in ranks]

    def _offered(self, one: Live, options: DecodingOptions, step: int) -> list[tuple[int, float]]:
        """Return the tokens that may follow with their log-probs, best first, of equal ones the smaller id first."""
        before, last = (SPECIAL.bos, SPECIAL.bos, *one.tokens)[-2:]
        row = self._model.tables[self._chain, before, last].tolist()
        if step < len(options.forced):
            forced = options.forced[step]
            return [(forced, row[forced])] if row[forced] > -math.inf else []
        possible = [
            (token, row[token])
            for token in range(SPECIAL.eos, options.vocabulary_size)
            if row[token] > -math.inf and self._wish.allows(one.tokens, token)
        ]
        best = sorted(possible, key=lambda pair: (-pair[1], pair[0]))
        if options.required is None:
            return best
        # As many candidates as the beam is wide, more by one for every token held where those count for less; then the next
        # required one.
        count = options.beam_size + (len(one.tokens) if options.repetition_penalty != 1 else 0)
        wanted = self._next_required(one.tokens, step)
        return best[:count] + [pair for pair in best[count:] if pair[0] == wanted]

    def _next_required(self, tokens: Tokens, step: int) -> int | None:
        """Return the next token of the phrase begun; of a missing one, by turns, where none is."""
        required = self._options.required
        assert required is not None
        ends = completed_at(self._options, tokens)
        lacking = [phrase for phrase, end in zip(required.phrases, ends, strict=True) if end is None]
        if not lacking:
            return None
        reached, phrase = max(((self._begun(phrase, tokens), phrase) for phrase in lacking), key=lambda pair: pair[0])
        return phrase[reached] if reached else lacking[step % len(lacking)][0]

    def _shared_out(
        self, scored: list[tuple[float, int, int, Live]], options: DecodingOptions
    ) -> list[tuple[float, int, int, Live]]:
        """Share the places out between hypotheses that hold equally many required tokens."""
        banks: dict[int, list[int]] = {}
        for place, (*_, one) in enumerate(scored):
            banks.setdefault(self._held(one.tokens), []).append(place)
        chosen: set[int] = set()
        share, more = divmod(options.beam_size, max(1, len(banks)))
        for number, held in enumerate(sorted(banks, reverse=True)):
            chosen |= set(banks[held][: share + (number < more)])
        left_over = [place for place in range(len(scored)) if place not in chosen]
        chosen |= set(left_over[: options.beam_size - len(chosen)])
        return [scored[place] for place in sorted(chosen)]

    def _held(self, tokens: Tokens) -> int:
        """Return how many required tokens are there: of phrases held, and of the longest one begun."""
        assert self._options.required is not None
        ends = completed_at(self._options, tokens)
        pairs = list(zip(self._options.required.phrases, ends, strict=True))
        whole = sum(len(phrase) for phrase, end in pairs if end is not None)
        return whole + max((self._begun(phrase, tokens) for phrase, end in pairs if end is None), default=0)

    def _begun(self, phrase: Tokens, tokens: Tokens) -> int:
        """Return how many tokens of a phrase that is not whole `tokens` ends with, and may go on from."""
        required = self._options.required
        assert required is not None
        # Right after a phrase no token may come that would make it part of another word.
        closed = required.continuing if just_completed(self._options, tokens) else ()
        sizes = (size for size in range(len(phrase)) if tokens[len(tokens) - size :] == phrase[:size])
        return max(size for size in sizes if not size or phrase[size] not in closed)

    def _filled(
        self, ended: list[Hypothesis], cut: list[Live], reason: FinishReason, options: DecodingOptions
    ) -> list[Hypothesis]:
        """Return the n best: first what ended, then what is cut, or by score alone where only the deadline cuts.

        Nothing that lacks a phrase comes where anything holds them all.
        """
        best = sorted(ended, key=lambda hypothesis: -hypothesis.score)
        holding = [one for one in cut if not missing(options, one.tokens)]
        pieces = [self._hypothesis(one, reason, options) for one in (holding if holding or ended else cut)]
        pieces.sort(key=lambda hypothesis: -hypothesis.score)
        if reason is FinishReason.DEADLINE:
            return sorted(best + pieces, key=lambda hypothesis: -hypothesis.score)[: options.hypothesis_count]
        return (best + pieces)[: options.hypothesis_count]

    def _hypothesis(self, one: Live, reason: FinishReason, options: DecodingOptions) -> Hypothesis:
        looks = self.looks(one.tokens)
        length = max(1, len(one.tokens))
        gnmt = options.length_normalization is LengthNormalization.GNMT
        score = one.total / math.pow((5 + length) / 6 if gnmt else float(length), options.length_penalty)
        if options.coverage_penalty:
            sums = np.zeros(self._length)
            for look in looks:
                sums = sums + look
            score += options.coverage_penalty * float(np.log(np.clip(sums, LEAST_ATTENTION, 1.0)).sum())
        log_prob = 0.0
        for part in one.log_probs:
            log_prob += part
        attention = np.array(looks, np.float32).reshape(-1, self._length) if options.attention else None
        return Hypothesis(one.tokens, one.log_probs, log_prob, score, reason, attention)

    def looks(self, tokens: Sequence[int]) -> list[FloatArray]:
        """Return what each token's row looked at."""
        path = (SPECIAL.bos, SPECIAL.bos, *tokens)
        return [self._model.look(self._chain, path[at], path[at + 1], self._length) for at in range(len(tokens))]


assert SPECIAL.eos + 1 == FIRST, "what may follow is counted from eos on"
