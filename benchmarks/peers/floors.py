"""6: the floors: gRPC alone, the graphs alone, and a step's products at the machine's measured peak."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from numpy.typing import NDArray

from beamstep.bench.prepared import Prepared
from benchmarks.peers import asked
from benchmarks.peers.asked import BEAM_SIZE
from benchmarks.peers.load import MANY, Loads, loads
from benchmarks.peers.products_count import multiply_adds
from benchmarks.peers.sides import OURS, P50, RATE, ours
from benchmarks.peers.table import Effort, Figures, Group, NotMeasuredError, Ratio, Sides, Table
from benchmarks.serving_process import ServingProcess, running
from serving.bundle import load_bundle
from serving.decoding.step import StepInputs, Tensors
from serving.decoding.tensors import on_host
from serving.session import OnnxModel, SessionConfig

ECHO: Final = "grpc.aio echo"
SOURCES: Final = (1, 8, 32)
LENGTHS: Final = {"translation-en-de": 15, "captioning-en": 49, "hull": 50}
"""Source positions of each model."""
ENCODE: Final = "encode, ms"
STEP: Final = "step, ms"
STEP_OWN: Final = "step on one thread, ms"
AT_PEAK: Final = "its products at the peak, ms"
SHARE: Final = "share of the peak, %"
RUNS: Final = 20


@contextmanager
def _echo(effort: Effort) -> Iterator[Sides]:
    bundle = effort.models / "translation-en-de" / "1"
    sent = asked.translations(asked.sentences(bundle))
    with tempfile.TemporaryDirectory() as scratch, ours(bundle, effort.serve) as mine, loads() as sender:
        answer = Path(scratch) / "answer"
        with grpc.insecure_channel(mine.address) as channel:
            ask: Any = channel.unary_unary(sent[0].method)
            answer.write_bytes(ask(sent[0].request, timeout=60))
        start = [sys.executable, "-m", "benchmarks.peers.echo_server", str(answer)]
        with running(lambda host, port: [*start, f"{host}:{port}"]) as echo:
            pids = (*mine.pids, echo.pid, *sender.pids)
            measures = {
                name: partial(_called, sender, side, sent, effort) for name, side in ((ECHO, echo), (OURS, mine))
            }
            yield Sides(measures, pids)


def _called(sender: Loads, server: ServingProcess, sent: Sequence[Prepared], effort: Effort) -> Figures:
    one = sender.closed(server.address, sent, 1, effort.seconds / 2)
    many = sender.closed(server.address, sent, MANY, effort.seconds)
    return {P50: one.percentile_ms(50), RATE: many.per_second}


def _graphs(name: str) -> Group:
    @contextmanager
    def opened(effort: Effort) -> Iterator[Sides]:
        bundle = load_bundle(effort.models / name / "1")
        served, single = (OnnxModel(bundle, config) for config in (SessionConfig(), SessionConfig(step_threads=1)))
        peaks = gemm_peaks()
        step_file = bundle.path(next(iter(bundle.manifest.graphs.values())).decoder_step)
        measures = {}
        for sources in SOURCES:
            shape = Shape(served, sources, LENGTHS[name])
            adds = multiply_adds(step_file, shape.feeds())
            ideal = (
                adds.integer / peaks["onnxruntime int8"]
                + adds.floating / max(peaks["onnxruntime float32"], peaks["numpy float32"])
            ) / 1e6
            side = f"{sources * BEAM_SIZE} rows of {sources} source{'s' * (sources > 1)}"
            measures[side] = partial(_timed, shape, served, single, ideal)
        yield Sides(measures)

    return Group(f"{name}: its graphs alone, {LENGTHS[name]} positions", opened)


def _timed(shape: "Shape", served: OnnxModel, single: OnnxModel, ideal_ms: float) -> Figures:
    alone = median_ms(lambda: shape.step(single))
    return {
        ENCODE: median_ms(lambda: shape.encode(served)),
        STEP: median_ms(lambda: shape.step(served)),
        STEP_OWN: alone,
        AT_PEAK: ideal_ms,
        SHARE: 100 * ideal_ms / alone,
    }


class Shape:
    """Arrays of one shape for a model's two graphs: so many sources, a beam of each."""

    def __init__(self, model: OnnxModel, sources: int, length: int, beam_size: int = BEAM_SIZE) -> None:
        """Encode random sources of `length` positions."""
        manifest = model.bundle.manifest
        random = np.random.default_rng(0)
        self._inputs = [_source(manifest.task, manifest.vocabulary.size, length, random) for _ in range(sources)]
        self._encoded = model.encode(self._inputs)
        rows = sources * beam_size
        source = np.arange(rows) // beam_size
        self._state: Tensors = {name: on_host(tensor)[source] for name, tensor in self._encoded.state.items()}
        first = manifest.vocabulary.first_position
        token = random.integers(4, manifest.vocabulary.size or (first or 0) + length, rows)
        none = np.zeros((rows, 0), np.int64)
        self._asked = StepInputs(
            token, np.arange(rows), source, none, np.full(rows, manifest.vocabulary.pad), candidates=beam_size
        )

    def encode(self, model: OnnxModel) -> object:
        """Encode the sources together."""
        return model.encode(self._inputs)

    def step(self, model: OnnxModel) -> object:
        """Advance all rows by one token."""
        return model.step(self._asked, self._encoded.memory, self._state)

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Return what the step's graph is fed."""
        asked_of = self._asked
        return {
            "token": asked_of.token,
            "parent": asked_of.parent,
            "source": asked_of.source,
            "banned": asked_of.banned,
            "query": asked_of.query,
            "candidates": np.array(asked_of.candidates, np.int64),
            **{name: on_host(tensor) for name, tensor in self._encoded.memory.items()},
            **{name: on_host(tensor) for name, tensor in self._state.items()},
        }


def _source(
    task: str, vocabulary: int | None, length: int, random: np.random.Generator
) -> Mapping[str, NDArray[np.generic]]:
    """Return a random source of a task."""
    if task == "translation":
        assert vocabulary is not None
        return {"source_tokens": random.integers(4, vocabulary, length), "source_lengths": np.array(length)}
    if task == "captioning":
        return {"image": random.integers(0, 256, (224, 224, 3), dtype=np.uint8)}
    return {"points": random.random((length, 2)), "point_counts": np.array(length)}


def median_ms(run: Callable[[], object], runs: int = RUNS) -> float:
    """Return the median milliseconds of a run, the first of them left out."""
    run()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def gemm_peaks() -> dict[str, float]:
    """Return 10^9 multiply-adds a second on one core, by how they are done. NotMeasuredError where that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.gemm_peak"], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise NotMeasuredError(f"benchmarks.peers.gemm_peak: {done.stderr.strip()[-200:]}")
    peaks: dict[str, float] = json.loads(done.stdout)
    return peaks


@contextmanager
def _peaks(_: Effort) -> Iterator[Sides]:
    names = list(gemm_peaks())
    measured: dict[str, float] = {}

    def one(name: str) -> Figures:
        if name == names[0]:
            measured.update(gemm_peaks())
        return {"10^9 multiply-adds/s": measured[name]}

    yield Sides({name: partial(one, name) for name in names})


TABLE: Final = Table(
    "floors",
    (
        Group("gRPC", _echo, (Ratio(P50, OURS, ECHO), Ratio(RATE, ECHO, OURS))),
        Group("products at the peak of one core", _peaks),
        *map(_graphs, LENGTHS),
    ),
)
