"""The highest rate that a server bears, found by doubling and halving."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from beamstep.bench.errors import BadInput

LOWEST_RATE: Final = 0.1
"""A server that does not bear this bears nothing."""


@dataclass(frozen=True)
class Goal:
    """What is searched for.

    Attributes:
        percentile: of latency, that is bounded.
        bound_ms: by this.
        start: the first rate to try.
        limit: the highest to try.
        resolution: the search is over when the lowest rate that fails is at most so many times the highest that holds.
    """

    percentile: float
    bound_ms: float
    start: float
    limit: float
    resolution: float

    def __post_init__(self) -> None:
        checks = {
            "--p99-ms": (self.bound_ms, self.bound_ms > 0, "above 0"),
            "--percentile": (self.percentile, 0 < self.percentile < 100, "above 0, below 100"),
            "--start": (self.start, self.start > 0, "above 0"),
            "--limit": (self.limit, self.limit >= self.start, "from --start"),
            "--resolution": (self.resolution, self.resolution > 1, "above 1"),
        }
        for name, (given, fits, allowed) in checks.items():
            if not fits:
                raise BadInput(f"{name}: {given:g}; allowed: {allowed}")


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        holds: the highest rate that was seen to hold; None where none did.
        fails: the lowest rate above it that was seen to fail; None where all up to the limit held.
    """

    holds: float | None
    fails: float | None


def search(holds: Callable[[float], bool], goal: Goal) -> Found:
    """Find the highest rate that holds, given that whatever holds at a rate holds at every lower one.

    Args:
        holds: measures a rate and judges it; called once a rate.
        goal: where to look, and how closely.
    """
    good, bad = None, None
    rate = goal.start
    while good is None or bad is None:
        if holds(rate):
            good = rate
            if rate >= goal.limit:
                break
            rate = min(2 * rate, goal.limit)
        else:
            bad = rate
            if rate <= LOWEST_RATE:
                break
            rate = max(rate / 2, LOWEST_RATE)
    while good is not None and bad is not None and bad / good > goal.resolution:
        middle = (good * bad) ** 0.5
        if holds(middle):
            good = middle
        else:
            bad = middle
    return Found(good, bad)
