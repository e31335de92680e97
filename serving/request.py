"""One request on its way through the engine, and what its submitter holds of it."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.request import Progress
from serving.errors import BeamstepError
from serving.spent import NOTHING, Spent

Inputs = Mapping[str, NDArray[np.generic]]
"""One source, as `Model.encode` takes it: no batch axis."""
Deliver = Callable[[Callable[[], None]], object]
"""Calls a function that hands over a turn's answers, there where they are awaited."""
OnProgress = Callable[[Progress], None]
"""Told after every step how far a request has come, on the engine's thread: it must return at once and not raise."""


class CacheHit(Enum):
    """What of an answer came from a cache."""

    NONE = "none"
    MEMORY = "memory"
    ANSWER = "answer"


@dataclass(frozen=True)
class Decoded:
    """The answer to one request, and where its time went.

    Attributes:
        hypotheses: best first, at least one.
        queue_s: from `submit` until its encoding began.
        encode_s: running the encoder on the batch it was part of.
        decode_s: from the end of encoding until its search was over; steps and searching of its batch, and waiting for others.
        step_count: decoder steps it took part in.
        deadline_reached: whether these are the best of a search that was not over when its deadline came.
        cache_hit: what of it came from a cache, whose times and steps are 0.
        spent: what its batch's steps took while it was in it, those of its neighbours being the same.
    """

    hypotheses: tuple[Hypothesis, ...]
    queue_s: float
    encode_s: float
    decode_s: float
    step_count: int
    deadline_reached: bool = False
    cache_hit: CacheHit = CacheHit.NONE
    spent: Spent = NOTHING


@dataclass(frozen=True)
class Ticket:
    """What the submitter holds: a promise of the answer.

    `future` fails with Expired, Draining or ModelFault; cancelling it, or the asyncio future wrapped around it, withdraws the
    request.
    """

    future: Future[Decoded]

    def cancel(self) -> bool:
        """Withdraw the request: no answer will come. Returns whether it was in time."""
        return self.future.cancel()


@dataclass
class Request:
    """One request and when what happened to it."""

    inputs: Inputs
    options: DecodingOptions
    constraint: Constraint | None
    source_length: int
    on_progress: OnProgress | None
    future: Future[Decoded]
    submitted: float
    encode_began: float = 0.0
    encode_ended: float = 0.0
    memory_key: bytes = b""  # of its source in the cache of encoder memory, where there is one
    cache_hit: CacheHit = CacheHit.NONE
    joined_step: int = 0  # steps that its batch had taken before it joined
    spent_before: Spent = NOTHING  # and what they had taken

    def decoded(
        self, hypotheses: tuple[Hypothesis, ...], step_count: int, now: float, spent: Spent, *, deadline_reached: bool
    ) -> Decoded:
        """Return the answer, with where its time went."""
        return Decoded(
            hypotheses,
            self.encode_began - self.submitted,
            self.encode_ended - self.encode_began,
            now - self.encode_ended,
            step_count,
            deadline_reached,
            self.cache_hit,
            spent,
        )

    def answer(self, decoded: Decoded) -> None:
        """Give the submitter the answer, unless nobody waits for it any more."""
        with suppress(InvalidStateError):  # cancelled at the last moment
            self.future.set_result(decoded)

    def reject(self, error: BeamstepError) -> None:
        """Give the submitter an error, unless nobody waits for it any more."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)
