"""How many times faster a precision is than fp32: run in turns in one process, for a machine's own speed drifts."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import numpy as np

from export.certification.sources import Source
from serving.decoding.step import Model, StepInputs
from serving.manifest import Manifest, SpeedRatio

SOURCES: Final = (1, 8)
ROWS: Final = (5, 40, 160)
ROWS_PER_SOURCE: Final = 5
REPEATS: Final = 25
LONGEST_S: Final = 3.0
"""No more repeats are begun after so long."""
LEAST_REPEATS: Final = 5

Work = Callable[[], object]


def speed_ratios(manifest: Manifest, model: Model, fp32: Model, sources: Sequence[Source]) -> tuple[SpeedRatio, ...]:
    """Time encodings of 1 and 8 sources, and steps of 5, 40 and 160 rows; medians over repeats."""
    encodings = [
        SpeedRatio(sources=count, times_faster=_times_faster(_encoding(model, some), _encoding(fp32, some)))
        for count in SOURCES
        for some in [_cycled(sources, count)]
    ]
    steps = [
        SpeedRatio(
            rows=rows,
            times_faster=_times_faster(_step(manifest, model, some, rows), _step(manifest, fp32, some, rows)),
        )
        for rows in ROWS
        for some in [_cycled(sources, rows // ROWS_PER_SOURCE)]
    ]
    return (*encodings, *steps)


def _encoding(model: Model, sources: Sequence[Source]) -> Work:
    return lambda: model.encode(sources)


def _step(manifest: Manifest, model: Model, sources: Sequence[Source], rows: int) -> Work:
    """Return a step of beams, each of `ROWS_PER_SOURCE` rows, as a search with that beam takes one."""
    encoded = model.encode(sources)
    row_source = np.arange(rows) // ROWS_PER_SOURCE
    token = np.full(rows, manifest.vocabulary.bos)
    inputs = StepInputs(token, row_source, row_source, np.zeros((rows, 0), np.int64), token, ROWS_PER_SOURCE)
    return lambda: model.step(inputs, encoded.memory, encoded.state)


def _times_faster(work: Work, slower: Work) -> float:
    took: dict[Work, list[float]] = {work: [], slower: []}
    for one in took:
        one()  # the first run allocates and plans
    began = time.perf_counter()
    for repeat in range(REPEATS):
        if repeat >= LEAST_REPEATS and time.perf_counter() - began > LONGEST_S:
            break
        for one, times in took.items():
            start = time.perf_counter()
            one()
            times.append(time.perf_counter() - start)
    return median(took[slower]) / median(took[work])


def _cycled(sources: Sequence[Source], count: int) -> list[Source]:
    return [sources[place % len(sources)] for place in range(count)]
