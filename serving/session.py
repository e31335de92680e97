"""A bundle's two graphs as what decoding asks of a model."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.decoding.step import Encoded, IntArray, StepInputs, StepOutputs, Tensors
from serving.decoding.tensors import joined
from serving.manifest import TensorSpec
from serving.memory import MemoryPool
from serving.precision import choose_precision
from serving.runtime.config import SessionConfig
from serving.runtime.pair import open_pair

__all__ = ["NEXT_STATE", "OnnxModel", "SessionConfig", "pad_batch"]

RAGGED_AXIS: Final = "S"
WARM_SOURCES: Final = 4
"""How many sources are encoded together to warm up."""
NEXT_STATE: Final = "next_"
"""The step's output `next_state.x` is its input `state.x` one step on: an ONNX graph cannot name both alike."""

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    name: np.dtype(name) for name in ("bool", "uint8", "int64", "float16", "float32", "float64")
}


class OnnxModel:
    """A `serving.decoding.step.Model` on ONNX Runtime; for several threads at once, unless its tensors are bound to a device.

    Attributes:
        bundle: what it was loaded from.
        provider: the execution provider that runs it.
        precision: which of the bundle's graphs run.
    """

    def __init__(self, bundle: Bundle, config: SessionConfig) -> None:
        """Load both graphs.

        Raises:
            BadBundle: a graph cannot be loaded, or is not what the manifest says.
            BadConfiguration: ONNX Runtime gave other execution providers than were asked for.
        """
        self.bundle = bundle
        self._config = config
        self.provider = config.providers[0]
        self.precision = choose_precision(
            bundle.manifest, self.provider, config.precision, allow_uncertified=config.allow_uncertified
        )
        graphs = bundle.manifest.graphs[self.precision]
        self._encoder, self._step = open_pair(bundle, self.precision, config)
        self._encoder_inputs = graphs.encoder.inputs
        self._encoder_outputs = [spec.name for spec in graphs.encoder.outputs]
        self._memory_names = [spec.name for spec in graphs.decoder_step.inputs if spec.name.split(".")[0] in _MEMORY]
        self._state_names = [spec.name for spec in graphs.decoder_step.inputs if spec.name.startswith("state.")]
        self._step_outputs = [
            "log_prob",
            "candidate",
            "query_log_prob",
            *(NEXT_STATE + name for name in self._state_names),
        ]
        self._step_outputs_and_attention = [*self._step_outputs, "attention"]

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        """Encode N sources in one padded batch; see `Model.encode`.

        Args:
            inputs: N mappings from each encoder input's name to its array without the batch axis.
        """
        assert inputs, "no source to encode"
        pad = self.bundle.manifest.vocabulary.pad
        batch = {
            spec.name: pad_batch([source[spec.name] for source in inputs], spec, pad) for spec in self._encoder_inputs
        }
        outputs = dict(zip(self._encoder_outputs, self._encoder.run(self._encoder_outputs, batch), strict=True))
        state = {name: outputs.pop(name) for name in self._state_names}
        return Encoded(outputs, state)

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        """Advance R rows by one token in one run of the graph; see `Model.step`."""
        feeds: Tensors = {
            "token": inputs.token,
            "parent": inputs.parent,
            "source": inputs.source,
            "banned": inputs.banned,
            "query": inputs.query,
            "candidates": np.array(inputs.candidates, np.int64),
        }
        for name in self._memory_names:
            feeds[name] = memory[name]
        for name in self._state_names:
            feeds[name] = state[name]
        wanted = self._step_outputs_and_attention if attention else self._step_outputs
        log_prob, candidate, query_log_prob, *after = self._step.run(wanted, feeds)
        weights = after.pop() if attention else None
        return StepOutputs(log_prob, candidate, query_log_prob, weights), dict(
            zip(self._state_names, after, strict=True)
        )

    def warm_up(self) -> None:
        """Encode and step some sources with a beam each in every source bucket; where shapes are padded, in every size of batch.

        No request pays for first-time allocations and plans then, and the process has most of the memory that it will ever hold.
        """
        source_counts, row_counts = self._warm_counts()
        pool, held = MemoryPool(), list[int]()
        for length in self.bundle.manifest.source_buckets:
            blank = {spec.name: _blank(spec, length) for spec in self._encoder_inputs}
            for count in source_counts:
                encoded = self.encode([blank] * count)
                for rows in row_counts:
                    self._warm_step(encoded, np.arange(rows) * count // rows)
                if self._config.bound:  # the graphs that move rows on the device; an array needs no warming up
                    slots, _ = pool.add(encoded.memory)
                    for tensor in encoded.state.values():
                        joined([tensor, tensor])
                    for slot in held:
                        pool.release(slot)
                    held = slots

    def _warm_counts(self) -> tuple[list[int], list[int]]:
        """Return how many sources to encode together, and how many rows to step."""
        if self._config.padded:
            return _powers_of_two(self._config.encode_sources), _powers_of_two(self._config.batch_rows)
        # On a device the second encoding joins the first: memory grows there, and a slot is written.
        source_counts = [1, WARM_SOURCES] if self._config.bound else [WARM_SOURCES]
        return source_counts, [WARM_SOURCES * self.bundle.manifest.defaults.beam_size]

    def _warm_step(self, encoded: Encoded, beams: IntArray) -> None:
        """Step a row of each of these sources, (R,)."""
        none = np.zeros((len(beams), 0), dtype=np.int64)
        first = np.full_like(beams, self.bundle.manifest.vocabulary.bos)
        inputs = StepInputs(first, beams, beams, none, first, candidates=1)
        self.step(inputs, encoded.memory, encoded.state, attention=True)


_MEMORY: Final = frozenset({"memory", "memory_mask"})


def pad_batch(arrays: Sequence[NDArray[np.generic]], spec: TensorSpec, pad: int) -> NDArray[np.generic]:
    """Stack the arrays of one input, padding its ragged axes up to the longest.

    Args:
        arrays: N arrays without the batch axis.
        spec: the input as the manifest has it; its axes after the first say which are ragged (the letter S).
        pad: fills ragged integers, which are token ids; other numbers are filled with 0.

    Returns:
        (N, ...), contiguous, of the dtype in `spec`.
    """
    dtype = DTYPES[spec.dtype]
    ragged = RAGGED_AXIS in spec.axes
    sizes = [max(array.shape[axis] for array in arrays) for axis in range(len(spec.axes) - 1)]
    batch = np.full((len(arrays), *sizes), pad if ragged and dtype.kind == "i" else 0, dtype=dtype)
    for row, array in enumerate(arrays):
        assert array.dtype == dtype, f"{spec.name}: {array.dtype}, not {dtype}"
        place: tuple[int | slice, ...] = (row, *(slice(size) for size in array.shape))
        batch[place] = array
    return batch


def _powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4 and so on, to the first that is not below `most`."""
    return [1 << power for power in range((most - 1).bit_length() + 1)]


def _blank(spec: TensorSpec, length: int) -> NDArray[np.generic]:
    """Return a source of `length` positions for `warm_up`: zeros, and `length` itself where a count is asked for."""
    axes = spec.axes[1:]
    shape = [length if axis == RAGGED_AXIS else int(axis) for axis in axes]
    return np.full(shape, 0 if axes else length, dtype=DTYPES[spec.dtype])
