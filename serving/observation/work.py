"""What the engine does, as Prometheus metrics; told on the engine's thread, a few microseconds a step."""

from threading import Lock
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from serving.observation.bucket_counts import BucketCounts
from serving.observer import Outcome

ENSEMBLE: Final = "ensemble"
STEP_S: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
WAIT_S: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def model_label(key: str) -> str:
    """Return what stands for a model in metrics: its name and version, or one word for all ensembles; callers can make any number.

    Two contents of one name and version, and a canary's second lane, count as the one model.
    """
    return ENSEMBLE if " + " in key else key.removeprefix("canary ").partition("#")[0]


class _Lane:
    """The metrics of one model, looked up once."""

    def __init__(self, model: str, work: "WorkMetrics") -> None:
        self.encode_s = work.encode_s.labels(model)
        self.real = work.positions.labels(model, "real")
        self.padding = work.positions.labels(model, "padding")
        self.turn_s = work.turn_s.labels(model)
        self.step_s = BucketCounts(STEP_S, work.step_s.labels(model))
        self.search_s = BucketCounts(STEP_S, work.search_s.labels(model))
        self.rows = BucketCounts(COUNTS, work.rows.labels(model))
        self.sources = BucketCounts(COUNTS, work.sources.labels(model))
        self.turned_s = 0.0
        self.lock = Lock()  # of the five above
        self.queue_s = work.queue_s.labels(model)
        self.ended: dict[Outcome, tuple[Counter, Counter]] = {}  # requests, and their steps

    def flush(self) -> None:
        """Hand over what the steps added up."""
        with self.lock:
            for counts in (self.step_s, self.search_s, self.rows, self.sources):
                counts.flush()
            self.turn_s.inc(self.turned_s)
            self.turned_s = 0.0


class WorkMetrics:
    """An `EngineObserver` that counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, words, ["model"], buckets=buckets, registry=registry)

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(name, words, ["model", *labels], registry=registry)

        self.queue_s = histogram("beamstep_queue_seconds", "From submission until the encoder run, or the end.", WAIT_S)
        self.encode_s = histogram("beamstep_encode_seconds", "One encoder run.", STEP_S)
        self.step_s = histogram("beamstep_step_seconds", "One run of the decoder step's graph.", STEP_S)
        self.search_s = histogram("beamstep_search_seconds", "Search around one step: inputs and selection.", STEP_S)
        self.rows = histogram("beamstep_step_rows", "Hypotheses in one step.", COUNTS)
        self.sources = histogram("beamstep_step_sources", "Requests in one step.", COUNTS)
        self.turn_s = counter("beamstep_turn_seconds", "Time that the engine spent on a model.")
        self.positions = counter("beamstep_encoded_positions", "Source positions: kind real or padding.", "kind")
        self.requests = counter("beamstep_requests", "Requests that left the engine.", "outcome")
        self.request_steps = counter("beamstep_request_steps", "Steps that they took part in.", "outcome")
        self._lanes: dict[str, _Lane] = {}

    def encoded(self, model: str, sources: int, real_positions: int, positions: int, seconds: float) -> None:  # noqa: ARG002
        """Count an encoder run."""
        lane = self._lane(model)
        lane.encode_s.observe(seconds)
        lane.real.inc(real_positions)
        lane.padding.inc(positions - real_positions)

    def stepped(self, model: str, rows: int, sources: int, *, graph_s: float, search_s: float, turn_s: float) -> None:
        """Count a step."""
        lane = self._lane(model)
        with lane.lock:
            lane.step_s.observe(graph_s)
            lane.search_s.observe(search_s)
            lane.rows.observe(rows)
            lane.sources.observe(sources)
            lane.turned_s += turn_s

    def flush(self) -> None:
        """Bring the metrics of the steps up to date."""
        for lane in list(self._lanes.values()):
            lane.flush()

    def ended(self, model: str, outcome: Outcome, steps: int, queue_s: float) -> None:
        """Count a request that is over."""
        lane = self._lane(model)
        lane.queue_s.observe(queue_s)
        ended = lane.ended.get(outcome)
        if ended is None:
            labels = model_label(model), outcome
            ended = lane.ended[outcome] = self.requests.labels(*labels), self.request_steps.labels(*labels)
        requests, request_steps = ended
        requests.inc()
        request_steps.inc(steps)

    def _lane(self, model: str) -> _Lane:
        label = model_label(model)
        lane = self._lanes.get(label)
        if lane is None:
            lane = self._lanes[label] = _Lane(label, self)
        return lane
