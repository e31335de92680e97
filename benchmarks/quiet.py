"""Figures that count: those of repeats in which little else ran on the machine."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from benchmarks import environment

Taken = TypeVar("Taken")

QUIET: Final = 0.1
"""A repeat counts as quiet when others took no more of all cores than this."""


def quietest(measure: Callable[[], Taken], pids: Sequence[int], repeats: int) -> list[tuple[float, Taken]]:
    """Measure until others took little of the machine `repeats` times, or twice as often as that.

    Returns:
        the quietest `repeats`, each with the share that others took.
    """
    taken: list[tuple[float, Taken]] = []
    while len(taken) < 2 * repeats and sum(share <= QUIET for share, _ in taken) < repeats:
        onlookers = environment.Onlookers(pids)
        outcome = measure()
        taken.append((onlookers.share(), outcome))
    return sorted(taken, key=lambda pair: pair[0])[:repeats]
