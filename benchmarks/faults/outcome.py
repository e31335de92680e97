"""What trying one row of the table came to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What was done, what was seen, and what of it should not have been.

    Attributes:
        done: what was done, with its sizes, a sentence.
        figures: what was seen, each a phrase.
        wrong: what should not have happened however busy the machine is; tests want none.
        missed: times and rates beyond their targets; a busy machine can do that too, so that the long forms alone look at it.
    """

    done: str
    figures: Sequence[str]
    wrong: Sequence[str] = ()
    missed: Sequence[str] = ()

    @property
    def verdict(self) -> str:
        """Return whether the row was met, and what is amiss otherwise."""
        amiss = [*self.wrong, *self.missed]
        return "met" if not amiss else "NOT met: " + "; ".join(amiss)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all, from 0 to 1, do not exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
