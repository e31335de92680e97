"""What graphs were fed while real inputs were decoded, and the ranges that their tensors had: what fixed scales are made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from serving.decoding.step import Encoded, Model, StepInputs, StepOutputs, Tensors
from serving.session import OnnxModel, pad_batch

Source = Mapping[str, NDArray[np.generic]]

LONGEST: Final = 256
"""Steps are thinned out to so many: ranges settle long before."""


class Range(NamedTuple):
    """The least and the greatest number of each position of a tensor's last axis, (C,) float32 each."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]


Ranges = Mapping[str, Range]


@dataclass(frozen=True)
class Calibration:
    """The feeds of both graphs, each a mapping from input names to arrays."""

    encoder: Sequence[Tensors]
    step: Sequence[Tensors]


@dataclass
class Recorder(Model):
    """Runs a model, and remembers what its graphs were fed."""

    model: OnnxModel
    encoder: list[Tensors] = field(default_factory=list)
    steps: list[Tensors] = field(default_factory=list)

    def encode(self, inputs: Sequence[Source]) -> Encoded:
        """Encode; see `Model.encode`."""
        manifest = self.model.bundle.manifest
        specs = manifest.graphs[self.model.precision].encoder.inputs
        pad = manifest.vocabulary.pad
        self.encoder.append(
            {spec.name: pad_batch([source[spec.name] for source in inputs], spec, pad) for spec in specs}
        )
        return self.model.encode(inputs)

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        """Advance; see `Model.step`."""
        manifest = self.model.bundle.manifest
        given = {**inputs._asdict(), **memory, **state} | {"candidates": np.array(inputs.candidates, np.int64)}
        names = [spec.name for spec in manifest.graphs[self.model.precision].decoder_step.inputs]
        self.steps.append({name: cast("NDArray[np.generic]", given[name]) for name in names})
        return self.model.step(inputs, memory, state, attention=attention)

    def calibration(self) -> Calibration:
        """Return what was recorded, its steps thinned out evenly."""
        every = -(-len(self.steps) // LONGEST) or 1
        return Calibration(self.encoder, self.steps[::every])


def ranges_of(model: onnx.ModelProto, tensors: Sequence[str], feeds: Iterable[Tensors]) -> dict[str, Range]:
    """Run a graph on feeds, and return the ranges of tensors inside it.

    Args:
        model: float32.
        tensors: names of float32 tensors with at least one axis.
        feeds: of its inputs; at least one.
    """
    if not tensors:
        return {}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outputs = {output.name for output in model.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Fused nodes would have no such tensors.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ranges: dict[str, Range] = {}
    for feed in feeds:
        for name, values in zip(tensors, session.run(list(tensors), feed), strict=True):
            flat = values.reshape(-1, values.shape[-1])
            found = Range(flat.min(0), flat.max(0))
            if name in ranges:
                found = Range(np.minimum(ranges[name].low, found.low), np.maximum(ranges[name].high, found.high))
            ranges[name] = found
    return ranges
