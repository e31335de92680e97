"""One request's part of a search batch that is not an array: what it wants, and what it has found so far."""

from bisect import insort
from dataclasses import dataclass

import numpy as np

from serving.decoding.attention import AttentionTrail
from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.penalties import length_penalty


@dataclass(frozen=True)
class Finished:
    """A request whose search is over.

    Attributes:
        request: as given to `add`.
        hypotheses: best first; `hypothesis_count` of them unless the search found fewer, at least one. Empty only when the
            model gave this request log-probs that are not numbers (NaN or +inf).
        step_count: steps it took part in.
    """

    request: int
    hypotheses: tuple[Hypothesis, ...]
    step_count: int


@dataclass(slots=True)
class Ending:
    """A hypothesis that has ended, not yet made into an answer.

    Attributes:
        score: to compare it with others.
        log_prob: the sum of `log_probs`.
        tokens: all of them, `eos` included where it was produced.
        log_probs: one a token.
        reason: why it ended.
        step: the request's step at which it ended, from 0.
        rank: the row, counted within the request, that it was at that step.
    """

    score: float
    log_prob: float
    tokens: list[int]
    log_probs: list[float]
    reason: FinishReason
    step: int
    rank: int


class Search:
    """One request's part of the batch that is not an array: what it found so far."""

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
        self.joined = 0  # the turn of its first step
        self.start = 0  # its first row at the step before
        self.candidates = options.candidates
        self.longest_penalty = length_penalty(options.max_length + 1, options.length_penalty)
        self.endings: list[Ending] = []  # the n best that ended in eos, best first
        self.threshold = -np.inf  # the worst score among them once there are n
        self.trail = AttentionTrail(source_length)
        self.faulty = False

    def offer(self, ending: Ending) -> None:
        """Add a finished hypothesis better than the threshold; of equal ones the earlier stays ahead."""
        count = self.options.hypothesis_count
        insort(self.endings, ending, key=lambda other: -other.score)
        del self.endings[count:]
        if len(self.endings) == count:
            self.threshold = self.endings[-1].score

    def hypothesis(self, ending: Ending) -> Hypothesis:
        """Return an ending as the caller sees it."""
        attention = None
        if self.options.attention:
            attention = self.trail.read(ending.step, ending.rank)[: len(ending.tokens)]
        return Hypothesis(
            tuple(ending.tokens), tuple(ending.log_probs), ending.log_prob, ending.score, ending.reason, attention
        )
