"""What caches and canaries count by themselves, as Prometheus metrics made when somebody asks."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.caches.lru import CacheStats
from serving.repository.canary import CanaryFigures


class Figures(Collector):
    """Reads figures that others keep; of several processes behind one port it has those of none.

    Attributes:
        caches: of each cache that there is, what gives its figures.
        canaries: gives those of every canary.
    """

    def __init__(self) -> None:
        self.caches: Mapping[str, Callable[[], CacheStats]] = {}
        self.canaries: Callable[[], Iterable[CanaryFigures]] = list

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, one that has nothing to say without samples."""
        yield from self._of_caches()
        yield from self._of_canaries()

    def _of_caches(self) -> Iterator[Metric]:
        lookups = CounterMetricFamily("beamstep_cache_lookups", "Look-ups in a cache.", labels=["cache", "result"])
        evictions = CounterMetricFamily("beamstep_cache_evictions", "Entries that made room.", labels=["cache"])
        held = GaugeMetricFamily("beamstep_cache_bytes", "Bytes that a cache holds.", labels=["cache"])
        limit = GaugeMetricFamily("beamstep_cache_limit_bytes", "Bytes that it may hold.", labels=["cache"])
        for name, snapshot in self.caches.items():
            stats = snapshot()
            lookups.add_metric([name, "hit"], stats.hits)
            lookups.add_metric([name, "miss"], stats.misses)
            evictions.add_metric([name], stats.evictions)
            held.add_metric([name], stats.held_bytes)
            limit.add_metric([name], stats.limit_bytes)
        yield from (lookups, evictions, held, limit)

    def _of_canaries(self) -> Iterator[Metric]:
        of = ["name", "version"]
        answers = CounterMetricFamily(
            "beamstep_canary_answers", "Requests that a canary was to decode again.", labels=[*of, "result"]
        )
        tokens = CounterMetricFamily(
            "beamstep_canary_tokens", "Tokens of compared answers, position by position.", labels=[*of, "result"]
        )
        seconds = CounterMetricFamily(
            "beamstep_canary_seconds", "From queue to answer, of compared answers.", labels=[*of, "side"]
        )
        for one in self.canaries():
            labels = [one.name, one.version]
            answers.add_metric([*labels, "identical"], one.identical)
            answers.add_metric([*labels, "different"], one.compared - one.identical)
            answers.add_metric([*labels, "dropped"], one.dropped)
            answers.add_metric([*labels, "failed"], one.errors)
            tokens.add_metric([*labels, "same"], one.same_tokens)
            tokens.add_metric([*labels, "other"], one.tokens - one.same_tokens)
            seconds.add_metric([*labels, "primary"], one.primary_s)
            seconds.add_metric([*labels, "canary"], one.canary_s)
        yield from (answers, tokens, seconds)
