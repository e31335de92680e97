"""Learning-rate schedules: a rise, then a decay over the steps or the minutes that a run has."""

import math
from typing import Literal

from pydantic import Field

from training.config import Config


class ScheduleConfig(Config):
    """The learning rate over a run.

    Attributes:
        kind: `cosine` falls to `final` of the peak where the run's steps or its time limit end, whichever is nearer
            (Loshchilov and Hutter 2017); `inverse_sqrt` falls as 1 / sqrt(step) and knows no end (Vaswani et al. 2017);
            `constant` stays.
        peak: the highest learning rate.
        warmup_steps: steps of the linear rise.
        final: share of the peak that `cosine` ends with.
    """

    kind: Literal["cosine", "inverse_sqrt", "constant"] = "cosine"
    peak: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=1)
    final: float = Field(default=0.02, ge=0, le=1)

    def learning_rate(self, step: int, progress: float) -> float:
        """Return the learning rate of a step (from 0) at `progress` (0 to 1) of the run's steps or time."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        match self.kind:
            case "cosine":
                share = self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
            case "inverse_sqrt":
                share = math.sqrt(self.warmup_steps / max(step + 1, self.warmup_steps))
            case "constant":
                share = 1.0
        return self.peak * rise * share
