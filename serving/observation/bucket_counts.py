"""Observations added up in plain numbers, so that many cost the engine's thread little; a histogram takes them over in one go."""

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Histogram


class BucketCounts:
    """Counts by bucket, and a sum. Not safe between threads: its owner has a lock."""

    def __init__(self, bounds: Sequence[float], into: Histogram) -> None:
        """Begin at nothing.

        Args:
            bounds: upper ends of the histogram's buckets, but for the last, which is without end.
            into: the histogram with its labels.
        """
        self._bounds = bounds
        self._into = into
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        """Hand over what was counted, by the histogram's own parts: its `observe` takes one value at a time."""
        for bucket, count in zip(self._into._buckets, self._counts, strict=True):
            if count:
                bucket.inc(count)
        self._into._sum.inc(self._sum)
        self._counts, self._sum = [0] * len(self._counts), 0.0
