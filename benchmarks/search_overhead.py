"""Times what happens between two graph runs: the search alone, then the whole turn of the engine.

    python -m benchmarks.search_overhead

The graphs are replaced by prepared random outputs of the right shapes, so that `inputs()` and `select()`, or all the engine does
from the end of one step to the beginning of the next, are what is timed. About one row in `LENGTH * BEAM_SIZE / 2` finds `eos`
among its candidates, so requests come and go as sentences do.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.decoding.beam import SearchBatch
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.step import Encoded, StepInputs, StepOutputs, Tensors
from serving.engine import Engine

SPECIAL = SpecialTokens(pad=0, bos=1, eos=2)
VOCABULARY = 8000
BEAM_SIZE = 5
LENGTH = 14
PREPARED = 64
"""Outputs made beforehand, used in turn."""
OPTIONS = DecodingOptions(BEAM_SIZE, 4 * LENGTH, VOCABULARY, SPECIAL, length_penalty=0.6)


@dataclass(frozen=True)
class Figure:
    """Microseconds a turn.

    Attributes:
        median_us: median over the turns, by the wall clock.
        processor_us: mean over the turns in processor time, which other programs on the machine do not lengthen.
    """

    median_us: float
    processor_us: float


def prepared_outputs(rows: int, candidates: int, seed: int) -> list[StepOutputs]:
    """Make random best candidates for up to `rows` rows."""
    generator = np.random.default_rng(seed)
    outputs = []
    for _ in range(PREPARED):
        log_prob = -np.sort(generator.exponential(1.5, (rows, candidates)).astype(np.float32), axis=1)
        candidate = generator.integers(SPECIAL.eos + 1, VOCABULARY, (rows, candidates))
        ends = generator.random(rows) < 2 / (LENGTH * BEAM_SIZE)
        candidate[ends, generator.integers(0, candidates, ends.sum())] = SPECIAL.eos
        outputs.append(StepOutputs(log_prob, candidate, log_prob[:, 0], None))
    return outputs


def first_rows(outputs: StepOutputs, rows: int) -> StepOutputs:
    """Cut prepared outputs to the rows that there are."""
    return StepOutputs(outputs.log_prob[:rows], outputs.candidate[:rows], outputs.query_log_prob[:rows], None)


@dataclass
class PreparedModel:
    """Answers at once, and notes the time from the end of each step to the beginning of the next, in nanoseconds."""

    prepared: list[StepOutputs]
    between_ns: list[int] = field(default_factory=list)
    processor_ns: list[int] = field(default_factory=list)
    _left: tuple[int, int] = (0, 0)

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        """Return memory of 16 positions and a state, both H = 512."""
        count = len(inputs)
        memory: Tensors = {
            "memory": np.zeros((count, 16, 512), np.float32),
            "memory_mask": np.ones((count, 16), np.bool_),
        }
        return Encoded(memory, {"state.hidden": np.zeros((count, 512), np.float32)})

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        """Return the next prepared outputs."""
        del memory, state, attention
        self.between_ns.append(time.perf_counter_ns() - self._left[0])
        self.processor_ns.append(time.thread_time_ns() - self._left[1])
        rows = len(inputs.token)
        outputs = first_rows(self.prepared[len(self.between_ns) % PREPARED], rows)
        after: Tensors = {"state.hidden": np.zeros((rows, 512), np.float32)}
        self._left = time.perf_counter_ns(), time.thread_time_ns()
        return outputs, after


def measure_engine(requests: int, candidates: int, turns: int, seed: int = 0) -> Figure:
    """Keep `requests` requests in the engine for `turns` turns; encoding, which takes no time here, is in the figures."""
    model = PreparedModel(prepared_outputs(requests * BEAM_SIZE, candidates, seed))
    enough = threading.Event()
    with Engine({"model": model}) as engine:

        def submit(_: object = None) -> None:
            if len(model.between_ns) > turns:
                enough.set()
            else:
                engine.submit("model", {}, OPTIONS).future.add_done_callback(submit)

        for _ in range(requests):
            submit()
        enough.wait()
    return summarise(model.between_ns[1 : turns + 1], model.processor_ns[1 : turns + 1])


def summarise(wall_ns: Sequence[int], processor_ns: Iterable[int]) -> Figure:
    """Return microseconds."""
    return Figure(statistics.median(wall_ns) / 1e3, statistics.mean(processor_ns) / 1e3)


def measure_search(requests: int, candidates: int, turns: int, seed: int = 0) -> Figure:
    """Run `turns` turns of a batch of `requests` requests, each replaced when it ends."""
    prepared = prepared_outputs(requests * BEAM_SIZE, candidates, seed)
    batch = SearchBatch(SPECIAL)
    number = 0
    wall, processor = [], []
    for turn in range(turns):
        began, processor_began = time.perf_counter_ns(), time.thread_time_ns()
        while batch.request_count < requests:
            batch.add(number, number % requests, OPTIONS)
            number += 1
        batch.select(first_rows(prepared[turn % PREPARED], len(batch.inputs().token)))
        wall.append(time.perf_counter_ns() - began)
        processor.append(time.thread_time_ns() - processor_began)
    return summarise(wall, processor)


def main() -> None:
    """Print microseconds a turn for 1, 8 and 32 requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=10)
    arguments = parser.parse_args()
    print(
        f"beam {BEAM_SIZE}, V {VOCABULARY}, k {arguments.candidates}, {arguments.turns} turns, median of {arguments.repeats} runs"
    )
    for name, measure in (("search", measure_search), ("engine", measure_engine)):
        for requests in (1, 8, 32):
            figures = [
                measure(requests, arguments.candidates, arguments.turns, seed) for seed in range(arguments.repeats)
            ]
            median = statistics.median(figure.median_us for figure in figures)
            processor = statistics.median(figure.processor_us for figure in figures)
            print(
                f"{name}, {requests:2d} requests: {median:6.1f} us a turn; {processor:6.1f} us processor time on average"
            )


if __name__ == "__main__":
    main()
