"""Prometheus metrics of a server, in a registry of their own: nothing here is global, and two servers do not mix."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from grpc import StatusCode
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from serving.calls.call import Call
from serving.calls.interceptor import Context
from serving.engine import Load
from serving.manifest import Manifest
from serving.observation.figures import Figures
from serving.observation.work import WorkMetrics, model_label

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own variable: a folder that several processes share. It reads it as it is imported, so no option can."""
CALL_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass
class _OfMethod:
    """The metrics of one method; how its calls ended by status and model."""

    in_flight: Gauge
    seconds: Histogram
    ended: dict[tuple[StatusCode, str], Counter] = field(default_factory=dict)


class Metrics:
    """All metrics of one server: an `Observer` of its calls; `work` is the `EngineObserver`.

    Other parts register theirs in `registry`. Where several processes serve behind one port (`multiprocess`), every exposition has
    the sums over all of them, and has neither process figures nor what custom collectors give.

    Attributes:
        registry: where they are.
        multiprocess: whether PROMETHEUS_MULTIPROC_DIR was set when the process began.
        work: what the engine tells.
        figures: those of caches and canaries.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.multiprocess = MULTIPROCESS in os.environ
        self.work = WorkMetrics(self.registry)
        self.figures = Figures()
        self.registry.register(self.figures)
        if not self.multiprocess:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._methods: dict[str, _OfMethod] = {}
        self._tokens_of: dict[str, Counter] = {}
        self._loads: Callable[[], Mapping[str, Load]] = dict
        self._seen: set[str] = set()
        self._served: set[tuple[str, str, str]] = set()
        self._calls = Counter(
            "beamstep_calls", "Calls that are over.", ["method", "code", "model"], registry=self.registry
        )
        self._call_s = Histogram(
            "beamstep_call_seconds",
            "From a call's arrival to its end.",
            ["method"],
            buckets=CALL_S,
            registry=self.registry,
        )
        self._in_flight = self._gauge("beamstep_calls_in_flight", "Calls under way.", ["method"])
        self._tokens = Counter(
            "beamstep_tokens", "Tokens of the best hypotheses of answered calls.", ["model"], registry=self.registry
        )
        self._waiting = self._gauge("beamstep_waiting_requests", "Requests in the queue.", ["model"])
        self._running = self._gauge("beamstep_running_requests", "Requests in the running batches.", ["model"])
        self._rows = self._gauge("beamstep_running_rows", "Rows that the running requests claim.", ["model"])
        self._models = Gauge(
            "beamstep_model_info",
            "1 for every model that is loaded.",
            ["name", "version", "task"],
            multiprocess_mode="livemax",
            registry=self.registry,
        )

    def began(self, call: Call, context: Context) -> None:  # noqa: ARG002 - Observer
        """Count a call that is under way."""
        self._of_method(call.method).in_flight.inc()

    def ended(self, call: Call, context: Context) -> None:  # noqa: ARG002 - Observer
        """Count a call that is over."""
        model, of_method = model_label(call.model), self._of_method(call.method)
        of_method.in_flight.dec()
        of_method.seconds.observe(call.ended - call.began)
        ended = of_method.ended.get((call.code, model))
        if ended is None:
            ended = self._calls.labels(call.method.strip("/"), call.code.name, model)
            of_method.ended[call.code, model] = ended
        ended.inc()
        if call.decoded:
            tokens = self._tokens_of.get(model)
            if tokens is None:
                tokens = self._tokens_of[model] = self._tokens.labels(model)
            tokens.inc(sum(len(decoded.hypotheses[0].tokens) for decoded in call.decoded))

    def _of_method(self, method: str) -> "_OfMethod":
        """Return the metrics of a method; looking them up by their labels each time would take longer than counting does."""
        found = self._methods.get(method)
        if found is None:
            name = method.strip("/")
            found = _OfMethod(self._in_flight.labels(name), self._call_s.labels(name))
            self._methods[method] = found
        return found

    def serve(self, models: Iterable[Manifest]) -> None:
        """Note which models are served from now on; those that were before are so no longer."""
        now = {(manifest.name, manifest.version, str(manifest.task)) for manifest in models}
        for gone in self._served - now:
            if self.multiprocess:
                self._models.labels(*gone).set(0)  # the file it stands in cannot forget it
            else:
                self._models.remove(*gone)
        for labels in now:
            self._models.labels(*labels).set(1)
        self._served = now

    def watch(self, loads: Callable[[], Mapping[str, Load]]) -> None:
        """Read queues and batches from `loads`, which is `Engine.loads`, at every `refresh`."""
        self._loads = loads
        self.refresh()

    def refresh(self) -> None:
        """Bring the gauges and the metrics of steps up to date; `exposition` does, for its own process."""
        self.work.flush()
        sums = {model: [0, 0, 0] for model in self._seen}
        for key, load in self._loads().items():
            into = sums.setdefault(model_label(key), [0, 0, 0])
            for place, value in enumerate((load.waiting_requests, load.running_requests, load.running_rows)):
                into[place] += value
        self._seen = set(sums)
        for model, values in sums.items():
            for gauge, value in zip((self._waiting, self._running, self._rows), values, strict=True):
                gauge.labels(model).set(value)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics as text.

        Args:
            accept: the Accept header of who asks; OpenMetrics where it names that, the Prometheus text format otherwise.

        Returns:
            the text, and its content type.
        """
        self.refresh()
        registry = self.registry
        if self.multiprocess:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def _gauge(self, name: str, words: str, labels: list[str]) -> Gauge:
        return Gauge(name, words, labels, multiprocess_mode="livesum", registry=self.registry)
