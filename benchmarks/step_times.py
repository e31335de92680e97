"""Times a bundle's two graphs alone, by rows and source positions: python -m benchmarks.step_times models/translation-en-de/1.

What the engine can win lies between these times and those of a whole request; `benchmarks.engine_table` has them.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from serving.bundle import load_bundle
from serving.decoding.step import StepInputs, Tensors
from serving.decoding.tensors import on_host
from serving.session import OnnxModel, SessionConfig

SOURCES: Final = (1, 8, 32)
BEAM_SIZE: Final = 5
LENGTHS: Final = (15, 128)


def step_times(
    folder: Annotated[Path, typer.Argument(help="A translation bundle.")],
    runs: Annotated[int, typer.Option(min=1, help="Runs of each; the median is printed.")] = 30,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a step.")] = SessionConfig().step_threads,
) -> None:
    """Print the median milliseconds of a step and of encoding, and of a step with attention and with a ban."""
    model = OnnxModel(load_bundle(folder), SessionConfig(step_threads=threads))
    typer.echo(f"{model.bundle.key}, beam {BEAM_SIZE}, {threads} threads a step; ms, median of {runs} (least)")
    typer.echo(
        f"{'sources':>7} {'rows':>5} {'S':>5} {'encode':>16} {'step':>16} {'with attention':>16} {'with a ban':>16}"
    )
    for sources in SOURCES:
        for length in LENGTHS:
            times = [measure(run, runs) for run in _runs(model, sources, length)]
            typer.echo(f"{sources:7} {sources * BEAM_SIZE:5} {length:5} " + " ".join(f"{text:>16}" for text in times))


def measure(run: Callable[[], object], runs: int) -> str:
    """Return the median and the least milliseconds of `run` as text."""
    run()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1e3)
    return f"{statistics.median(times):.2f} ({min(times):.2f})"


def _runs(model: OnnxModel, sources: int, length: int) -> list[Callable[[], object]]:
    """Return what to measure for one shape: encoding, a step, one with attention, one with a ban."""
    vocabulary = model.bundle.manifest.vocabulary
    size = vocabulary.size or 0
    random = np.random.default_rng(0)
    rows = sources * BEAM_SIZE
    inputs = [
        {"source_tokens": random.integers(4, size, length), "source_lengths": np.array(length)} for _ in range(sources)
    ]
    encoded = model.encode(inputs)
    row_source = np.arange(rows) // BEAM_SIZE
    state: Tensors = {name: on_host(tensor)[row_source] for name, tensor in encoded.state.items()}

    def step(*, attention: bool = False, bans: int = 0) -> object:
        banned = np.full((rows, bans), vocabulary.eos)
        token, pad = random.integers(4, size, rows), np.full(rows, vocabulary.pad)
        asked = StepInputs(token, np.arange(rows), row_source, banned, pad, BEAM_SIZE)
        return model.step(asked, encoded.memory, state, attention=attention)

    return [lambda: model.encode(inputs), step, lambda: step(attention=True), lambda: step(bans=1)]


if __name__ == "__main__":
    typer.run(step_times)
