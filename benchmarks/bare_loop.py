"""A bundle decoded in this process, without a server: the same sessions and the same search, to hold the server against."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import Request
from serving.bundle import load_bundle
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.decoding.step import Encoded, Model, StepInputs, StepOutputs, Tensors
from serving.registry import TASKS
from serving.session import OnnxModel, SessionConfig
from serving.tasks.options import RequestedOptions, resolve_options
from serving.tasks.translation import Translation

NS: Final = 1e9


@dataclass(frozen=True)
class Prepared:
    """A request as the engine is given it."""

    inputs: Mapping[str, NDArray[np.generic]]
    options: DecodingOptions


class BareLoop:
    """A translation bundle on ONNX Runtime, warmed up, and the plain loop around it.

    Attributes:
        task: its way from text to tensors.
        model: its sessions.
    """

    def __init__(self, folder: Path) -> None:
        """Load a bundle as a server does."""
        bundle = load_bundle(folder)
        task = TASKS[bundle.manifest.task](bundle)
        assert isinstance(task, Translation), f"{folder}: a translation bundle is needed"
        self.task = task
        self.model = OnnxModel(bundle, SessionConfig())
        self.model.warm_up()

    def prepare(self, request: Request) -> Prepared:
        """Turn a request into what the search takes."""
        source = self.task.source(request.text)
        requested = RequestedOptions(
            beam_size=request.beam_size,
            hypothesis_count=request.hypothesis_count,
            min_length=request.min_length,
            max_length=request.answer_length,
            attention=request.everything,
        )
        manifest = self.task.bundle.manifest
        return Prepared(source.inputs, resolve_options(requested, manifest, source.length, source.vocabulary_size))

    def seconds(self, batch: Sequence[Prepared]) -> float:
        """Decode a batch to its end, and return how long it took."""
        inputs, options = [one.inputs for one in batch], [one.options for one in batch]
        began = time.perf_counter_ns()
        decode(self.model, inputs, options)
        return (time.perf_counter_ns() - began) / NS


class TimedModel:
    """A model that notes how long its graphs run and how long whoever calls it takes between two steps, in nanoseconds.

    Encoding counts as neither. A pause in which nothing was running is the caller's to leave out: `begin` starts afresh.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.begin()

    def begin(self) -> None:
        """Forget what was noted; the time until the next step counts for nothing."""
        self.graph_ns: list[int] = []
        self.between_ns: list[int] = []
        self._left: int | None = None

    def share(self) -> float:
        """Return the part of the time that was spent between two steps, from 0 to 1."""
        graph, between = sum(self.graph_ns), sum(self.between_ns)
        return between / (graph + between)

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        """Encode, and take the time it needs out of what is between two steps."""
        began = time.perf_counter_ns()
        encoded = self._model.encode(inputs)
        if self._left is not None:
            self._left += time.perf_counter_ns() - began
        return encoded

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        """Step, and note both times."""
        began = time.perf_counter_ns()
        if self._left is not None:
            self.between_ns.append(began - self._left)
        answer = self._model.step(inputs, memory, state, attention=attention)
        self._left = time.perf_counter_ns()
        self.graph_ns.append(self._left - began)
        return answer
