"""How long one model's work takes, as measured so far: what refusals and deadlines are reckoned from."""

import math
from typing import Final

WEIGHT: Final = 0.1
"""How much one more measurement counts in a running mean."""
FORGETTING: Final = 1.002
"""How much a least time grows with every measurement above it, so that an old record does not stand for ever."""
STALE_S: Final = 5.0
"""After so long without a step nothing is refused for what was measured before: refusals alone would never bring better news."""
USUAL_RETRY_S: Final = 1.0
RETRY_S: Final = (0.01, 30.0)


class Pace:
    """Running means and least times of one model; 0 where nothing was measured yet.

    Attributes:
        turn_s: mean time from one turn to the next while there is work.
        encode_s: mean time of an encoder run.
    """

    def __init__(self) -> None:
        self.turn_s = 0.0
        self.encode_s = 0.0
        self._least_encode_s = math.inf
        self._least_step_s = math.inf
        self._least_steps_per_position = math.inf
        self._last_step = -math.inf
        self._answer_interval_s = 0.0
        self._last_answer = -math.inf

    def encoded(self, seconds: float) -> None:
        """Take in one encoder run."""
        self.encode_s = _mean(self.encode_s, seconds)
        self._least_encode_s = _least(self._least_encode_s, seconds)

    def stepped(self, now: float, step_s: float, since_last_turn_s: float | None) -> None:
        """Take in one decoder step, and the time since the turn before where there was no rest between them."""
        self._last_step = now
        self._least_step_s = _least(self._least_step_s, step_s)
        if since_last_turn_s is not None:
            self.turn_s = _mean(self.turn_s, since_last_turn_s)
        elif not self.turn_s:  # the very first turn: the next will take about as long as its step
            self.turn_s = step_s

    def answered(self, now: float, step_count: int, source_length: int) -> None:
        """Take in one answer that was searched for to its end."""
        if source_length:
            self._least_steps_per_position = _least(self._least_steps_per_position, step_count / source_length)
        if math.isfinite(self._last_answer):
            self._answer_interval_s = _mean(self._answer_interval_s, now - self._last_answer)
        self._last_answer = now

    def least_s(self, now: float, least_steps: int, most_steps: int, source_length: int) -> float:
        """Return the least time that an answer takes with nobody else there, going by the quickest work of late.

        Args:
            now: the time.
            least_steps: fewest steps that the request allows.
            most_steps: most steps that it allows.
            source_length: positions of its source; 0 where they are not known.

        Returns:
            seconds; 0 where nothing was measured, or not for a while.
        """
        if not math.isfinite(self._least_step_s + self._least_encode_s) or now - self._last_step > STALE_S:
            return 0.0
        usual = 0 if math.isinf(self._least_steps_per_position) else int(self._least_steps_per_position * source_length)
        return self._least_encode_s + min(max(least_steps, usual), most_steps) * self._least_step_s

    def retry_after_s(self, waiting: int) -> float:
        """Return when half of a queue of `waiting` requests will be gone at the rate of late."""
        if not self._answer_interval_s:
            return USUAL_RETRY_S
        return min(max(self._answer_interval_s * waiting / 2, RETRY_S[0]), RETRY_S[1])


def _mean(mean: float, value: float) -> float:
    return value if not mean else mean + WEIGHT * (value - mean)


def _least(least: float, value: float) -> float:
    return min(value, least * FORGETTING)
