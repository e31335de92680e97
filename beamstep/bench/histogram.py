"""HDR histograms of durations: every value within 0.1 %, and as many of them as there are, in the same little room."""

import math
from typing import Any, Final, Self

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

HIGHEST_US: Final = 3_600_000_000
"""An hour. Whatever takes longer counts as that."""
DIGITS: Final = 3
Numbers = NDArray[np.int64]
PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}


class Histogram:
    """Counts of durations in microseconds; three significant digits of each, from 1 us to an hour."""

    def __init__(self) -> None:
        self._counts: Any = HdrHistogram(1, HIGHEST_US, DIGITS)

    @classmethod
    def decode(cls, encoded: str) -> Self:
        """Return what `encode` made. ValueError where it is something else."""
        histogram = cls()
        try:
            histogram._counts.decode_and_add(encoded)
        except Exception as error:  # whatever the codec, zlib and base64 raise
            raise ValueError(f"{encoded[:30]!r} is no HDR histogram") from error
        return histogram

    def encode(self) -> str:
        """Return it in the form that all HDR histogram libraries read (V2, compressed, base64)."""
        return str(self._counts.encode().decode("ascii"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process in the encoded form; the counts themselves cannot."""
        return Histogram.decode, (self.encode(),)

    def record(self, seconds: float) -> None:
        """Count one duration; one below 0 counts as 0."""
        self._counts.record_value(min(max(round(seconds * 1e6), 0), HIGHEST_US))

    def add(self, other: Self) -> None:
        """Count what another one counted."""
        self._counts.add(other._counts)

    @property
    def count(self) -> int:
        """Return how many durations were counted."""
        return int(self._counts.get_total_count())

    @property
    def mean_ms(self) -> float:
        """Return their mean; NaN where there are none."""
        values, counts = self._recorded()
        return float(values @ counts) / self.count / 1e3 if self.count else math.nan

    @property
    def max_ms(self) -> float:
        """Return the longest; NaN where there are none."""
        return float(self._recorded()[0][-1]) / 1e3 if self.count else math.nan

    def percentile_ms(self, percentile: float, failures: int = 0) -> float:
        """Return the duration that so many percent do not exceed.

        Args:
            percentile: from 0 to 100.
            failures: how many more there were that never ended, each longer than all others.

        Returns:
            milliseconds; infinite where it lies among the failures, NaN where there is nothing.
        """
        total = self.count + failures
        if total == 0:
            return math.nan
        rank = max(1, math.floor(percentile / 100 * total + 0.5))
        if rank > self.count:
            return math.inf
        values, counts = self._recorded()
        return float(values[np.searchsorted(np.cumsum(counts), rank)]) / 1e3

    def counts(self) -> dict[int, int]:
        """Return how often each duration came, in microseconds, shortest first."""
        values, counts = self._recorded()
        return dict(zip(values.tolist(), counts.tolist(), strict=True))

    def _recorded(self) -> tuple[Numbers, Numbers]:
        """Return the distinct durations in microseconds, shortest first, and their counts.

        Each duration is the highest that counts as the same. The library walks all of its counts in Python for every figure.
        """
        counts = np.ctypeslib.as_array(self._counts.counts)
        places = np.flatnonzero(counts)
        lowest = map(self._counts.get_value_from_index, places.tolist())
        values = [self._counts.get_highest_equivalent_value(value) for value in lowest]
        return np.array(values, dtype=np.int64), counts[places].astype(np.int64)

    def summary(self) -> dict[str, float | int]:
        """Return count, percentiles, mean and maximum, in milliseconds; the count alone where that is 0."""
        if self.count == 0:
            return {"count": 0}
        found = {name: round(self.percentile_ms(percentile), 3) for name, percentile in PERCENTILES.items()}
        return {"count": self.count, **found, "max": round(self.max_ms, 3), "mean": round(self.mean_ms, 3)}
