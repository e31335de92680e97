"""When requests come, whatever becomes of those before them."""

from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamstep.bench.errors import BadInput

Times = NDArray[np.float64]
"""(N,) seconds from the beginning, in order."""


class Kind(StrEnum):
    """How arrivals are made where none are replayed."""

    POISSON = "poisson"
    CONSTANT = "constant"


def poisson(rate: float, seconds: float, seed: int) -> Times:
    """Draw arrivals that know nothing of each other: gaps of an exponential distribution, `rate` a second on average."""
    generator = np.random.default_rng(seed)
    times = np.cumsum(generator.exponential(1 / rate, size=max(16, round(rate * seconds * 1.2))))
    while times[-1] < seconds:
        times = np.concatenate([times, times[-1] + np.cumsum(generator.exponential(1 / rate, size=16))])
    return until(times, seconds)


def constant(rate: float, seconds: float) -> Times:
    """Return arrivals at equal gaps, the first at 0."""
    return np.arange(0, np.ceil(rate * seconds), dtype=np.float64) / rate


def replay(recorded: Times, rate: float | None, seconds: float) -> Times:
    """Return recorded arrivals from their first on.

    Args:
        recorded: as `read_arrivals` returns them.
        rate: stretches or squeezes them to so many a second on average; None leaves them as they were.
        seconds: later ones are left out.
    """
    times = recorded - recorded[0]
    if rate is not None and times[-1] > 0:
        times = times * ((len(times) - 1) / times[-1] / rate)
    return until(times, seconds)


def until(times: Times, seconds: float) -> Times:
    """Return those before a moment."""
    return times[: int(np.searchsorted(times, seconds))]


def read_arrivals(file: Path) -> Times:
    """Read a recording: on each line a time in seconds, from whenever, no earlier than the line before.

    Raises:
        BadInput: names the line.
    """
    times: list[float] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            time = float(text)
        except ValueError:
            time = np.nan
        if not np.isfinite(time):
            raise BadInput(f"{file}, line {number}: {text[:40]!r}; allowed: a time in seconds")
        if times and time < times[-1]:
            raise BadInput(f"{file}, line {number}: {text}; allowed: no earlier than the line before, {times[-1]:g}")
        times.append(time)
    if len(times) < 2:
        raise BadInput(f"{file}: {len(times)} arrivals; allowed: at least 2")
    return np.array(times)
