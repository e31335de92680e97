"""One request's part of a search batch that is not an array: what it wants, and what it has found so far."""

import dataclasses
import functools
import math
import operator
from bisect import insort
from dataclasses import dataclass, field

import numpy as np

from serving.decoding.attention import AttentionTrail
from serving.decoding.chooser import Chooser
from serving.decoding.constraints import Constraint, Joinable
from serving.decoding.coverage import Coverage
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.penalties import length_penalty
from serving.decoding.phrase_beam import PhraseBeam
from serving.decoding.sampling import Sampler
from serving.decoding.step import FloatArray, IntArray


@dataclass(frozen=True)
class Finished:
    """A request whose search is over.

    Attributes:
        request: as given to `add`.
        hypotheses: best first; `hypothesis_count` of them unless the search found fewer, at least one. Empty only when the
            model gave this request log-probs that are not numbers (NaN or +inf), or when it was stopped before its first step.
        step_count: steps it took part in.
    """

    request: int
    hypotheses: tuple[Hypothesis, ...]
    step_count: int


@dataclass(frozen=True)
class Progress:
    """How far a running request has come.

    Attributes:
        tokens: the best hypothesis at the moment, without `eos`.
        certain: how many of them all hypotheses share from which the best may still come. It never falls, and these tokens
            never change: every later hypothesis goes on from one of those.
    """

    tokens: tuple[int, ...]
    certain: int


@dataclass(slots=True)
class Ending:
    """A hypothesis that has ended, not yet made into an answer.

    Attributes:
        score: to compare it with others.
        tokens: all of them, `eos` included where it was produced.
        log_probs: one a token, the model's own.
        reason: why it ended.
        step: the request's step at which it ended, from 0.
        row: which row of the whole batch it was at that step.
    """

    score: float
    tokens: list[int]
    log_probs: list[float]
    reason: FinishReason
    step: int
    row: int


@dataclass
class Fork:
    """A request whose alternatives are searched apart: what those that are over have found, and how many are not."""

    running: int
    found: list[Hypothesis] = field(default_factory=list)
    faulty: bool = False


class Search:
    """One search: a request's, or that of one of its alternatives."""

    def __init__(
        self,
        request: int,
        source: int,
        options: DecodingOptions,
        constraint: Constraint | None,
        source_length: int,
    ) -> None:
        self.request = request
        self.source = source
        self.options = options
        self.constraint = constraint
        self.joinable = constraint if isinstance(constraint, Joinable) and options.required is None else None
        self.joined = 0  # the turn of its first step
        self.start = 0  # its first row in the whole batch at the step before; kept where coverage is
        self.forced = options.forced
        self.candidates = options.candidates
        self.places = options.hypothesis_count if options.alternatives else options.beam_size
        self.first_rows = 1 if options.sampling is None else options.beam_size
        self.longest_penalty = self.length_penalty(options.max_length + 1)
        self.most_endings = _most_endings(options)
        self.endings: list[Ending] = []  # the n best that ended in eos, best first
        self.ended = 0  # how many have ended in eos, those forgotten included
        self.lost: list[Ending] = []  # samples that could not go on, each of which is an answer all the same
        self.threshold = -np.inf  # the worst score among them once there are n
        self.attentive = options.attention or options.coverage_penalty > 0
        self.source_length = source_length
        self.coverage = Coverage(source_length) if options.coverage_penalty else None
        self.phrases = None if options.required is None else PhraseBeam(options.required, options)
        sampler = None if options.sampling is None else Sampler(options.sampling, options.beam_size)
        self.chooser: Chooser | None = self.phrases or sampler
        self.has_own_bans = self.phrases is not None or (constraint is not None and self.joinable is None)
        self.fork: Fork | None = None
        self.faulty = False
        self.unusual = bool(
            constraint is not None
            or self.attentive
            or self.chooser is not None
            or self.forced
            or options.alternatives
            or options.repetition_penalty != 1
        )  # whether it wants anything but plain beam search

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return what `Layout` needs: source, first turn, places, candidates, and the turns in which it may end and must."""
        options, joined = self.options, self.joined
        may_end, limit = joined + options.min_length, joined + options.max_length
        return self.source, joined, self.places, self.candidates, may_end, limit

    def length_penalty(self, length: int) -> float:
        """Return what the log-prob of a hypothesis of `length` tokens is divided by."""
        return length_penalty(length, self.options.length_penalty, self.options.length_normalization)

    def score(self, log_prob: float, length: int, row: int) -> float:
        """Return the score of a hypothesis.

        Args:
            log_prob: its accumulated log-prob, penalties for repetition included.
            length: its tokens, `eos` included where it was produced; no token counts as one.
            row: which row of the whole batch it was at the last step.
        """
        score = log_prob / self.length_penalty(max(1, length))
        if self.coverage is None:
            return score
        return score + self.coverage.penalty(row - self.start, self.options.coverage_penalty, length)

    def cover(self, attention: FloatArray, parent: IntArray, start: int) -> None:
        """Add up what the rows looked at in one step.

        Args:
            attention: (rows, S) of its own rows.
            parent: (rows,) int64, the row of the whole batch that each continues.
            start: the first of its rows in the whole batch.
        """
        assert self.coverage is not None
        self.coverage.add(attention, parent - self.start)
        self.start = start

    def offer(self, ending: Ending) -> None:
        """Add a finished hypothesis better than the threshold; of equal ones the earlier stays ahead."""
        count = self.options.hypothesis_count
        insort(self.endings, ending, key=lambda other: -other.score)
        del self.endings[count:]
        if len(self.endings) == count:
            self.threshold = self.endings[-1].score

    def hypothesis(self, ending: Ending, trail: AttentionTrail) -> Hypothesis:
        """Return an ending as the caller sees it."""
        attention = None
        if self.options.attention:
            turn = self.joined + ending.step
            attention = trail.read(self.joined, turn, ending.row, self.source_length)[: len(ending.tokens)]
        return Hypothesis(
            tuple(ending.tokens),
            tuple(ending.log_probs),
            functools.reduce(operator.add, ending.log_probs, 0.0),  # sum() compensates since Python 3.12
            ending.score,
            ending.reason,
            attention,
        )

    def alternative(self, fork: Fork) -> "Search":
        """Return the search of one alternative, which goes on from here with its share of the places."""
        options = self.options
        share = dataclasses.replace(
            options, beam_size=options.beam_size // options.hypothesis_count, hypothesis_count=1, alternatives=False
        )
        other = Search(self.request, self.source, share, self.constraint, self.source_length)
        other.joined, other.start = self.joined, self.start
        other.coverage = None if self.coverage is None else self.coverage.copy()
        other.fork = fork
        return other


def _most_endings(options: DecodingOptions) -> float:
    """Return how many hypotheses end a search by having ended."""
    if options.patience is None:
        return math.inf
    product = round(options.patience * options.beam_size, 9)  # 2.2 * 25 is 55, and 55.00000000000001 in binary
    return max(options.hypothesis_count, math.ceil(product))
