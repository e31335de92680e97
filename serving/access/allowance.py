"""How much of its limits a token has used: a bucket of calls that fills up again, and the calls that run."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from serving.access.tokens import TokenLimits
from serving.errors import Overloaded

CONCURRENT_RETRY_S: Final = 0.1
"""When a token with all its calls running is told to try again: nobody knows when one of them ends."""


class Allowance:
    """One token's use of its limits, within one event loop.

    Attributes:
        limits: they may change; what was used stays used.
    """

    def __init__(self, name: str, limits: TokenLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self.limits = limits
        self._running = 0
        self._left = self._burst
        self._at = clock()

    def take(self) -> None:
        """Count one call.

        Raises:
            Overloaded: it came too soon after others; it is not counted.
        """
        rate = self.limits.rate
        if rate is None:
            return
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            sentence = f"the token {self._name} may make {rate:g} calls a second, {self._burst:g} at once; retry later"
            raise Overloaded(sentence, (1 - self._left) / rate)
        self._left -= 1

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a call while it runs.

        Raises:
            Overloaded: as many as are allowed run already.
        """
        most = self.limits.concurrent
        if most is not None and self._running >= most:
            raise Overloaded(f"the token {self._name} may make {most} calls at a time; retry later", CONCURRENT_RETRY_S)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    @property
    def _burst(self) -> float:
        rate, burst = self.limits.rate, self.limits.burst
        return float(burst if burst is not None else max(1, math.ceil(rate or 1)))
