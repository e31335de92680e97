"""A bundle's two graphs on ONNX Runtime; the one importer of onnxruntime.

What was measured for the options set here stands in docs/log.md, "Export and ONNX Runtime sessions".
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.decoding.step import Encoded, StepInputs, StepOutputs, Tensors
from serving.errors import BadBundle, BadConfiguration
from serving.manifest import GraphSpec, Precision, TensorSpec
from serving.precision import CPU, choose_precision

SOURCE_AXIS: Final = "N"
RAGGED_AXIS: Final = "S"
WARM_SOURCES: Final = 4
"""How many sources are encoded together to warm up."""
NEXT_STATE: Final = "next_"
"""The step's output `next_state.x` is its input `state.x` one step on: an ONNX graph cannot name both alike."""

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    name: np.dtype(name) for name in ("bool", "uint8", "int64", "float16", "float32", "float64")
}
_RUNTIME_TYPES: Final = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


def _default_step_threads() -> int:
    return min(2, len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class SessionConfig:
    """How ONNX Runtime runs a bundle.

    The step has a thread pool of its own of up to two threads and the encoder none: two pools that both spin halve the
    speed of one request, and a step is too small for more threads.

    Attributes:
        providers: execution providers in order of preference; ONNX Runtime adds the CPU at the end.
        encoder_threads: threads within one encoder run; from 1.
        step_threads: threads within one step; from 1; the default is 2, or 1 on a single core.
        precision: which of a bundle's graphs to run; None takes the best for the provider.
        spinning: whether idle threads of a pool burn their core for a moment before they sleep: faster on an idle machine,
            2 to 3 times the p99 on a shared one.
    """

    providers: tuple[str, ...] = (CPU,)
    encoder_threads: int = 1
    step_threads: int = field(default_factory=_default_step_threads)
    precision: Precision | None = None
    spinning: bool = True

    def __post_init__(self) -> None:
        for name in ("encoder_threads", "step_threads"):
            if getattr(self, name) < 1:
                raise BadConfiguration(f"{name}: {getattr(self, name)}; allowed: from 1")
        available = onnxruntime.get_available_providers()
        missing = [provider for provider in self.providers if provider not in available]
        if missing or not self.providers:
            raise BadConfiguration(
                f"providers: asked for {', '.join(self.providers) or 'none'}; "
                f"this ONNX Runtime {onnxruntime.__version__} has {', '.join(available)}"
            )


class OnnxModel:
    """A `serving.decoding.step.Model` on ONNX Runtime; used by one thread at a time.

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
        self.provider = config.providers[0]
        self.precision = choose_precision(bundle.manifest, self.provider, config.precision)
        graphs = bundle.manifest.graphs[self.precision]
        self._encoder = _open_session(bundle, graphs.encoder, config, config.encoder_threads)
        self._step = _open_session(bundle, graphs.decoder_step, config, config.step_threads)
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
        """Encode and step some sources with a beam each in every source bucket.

        No request pays for first-time allocations and plans then, and the process has most of the memory that it will ever hold.
        """
        vocabulary = self.bundle.manifest.vocabulary
        source = np.arange(WARM_SOURCES)
        beams = source.repeat(self.bundle.manifest.defaults.beam_size)
        none = np.zeros((len(beams), 0), dtype=np.int64)
        for length in self.bundle.manifest.source_buckets:
            encoded = self.encode([{spec.name: _blank(spec, length) for spec in self._encoder_inputs}] * WARM_SOURCES)
            first = np.full_like(beams, vocabulary.bos)
            self.step(
                StepInputs(first, beams, beams, none, first, candidates=1),
                encoded.memory,
                encoded.state,
                attention=True,
            )


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


def _blank(spec: TensorSpec, length: int) -> NDArray[np.generic]:
    """Return a source of `length` positions for `warm_up`: zeros, and `length` itself where a count is asked for."""
    axes = spec.axes[1:]
    shape = [length if axis == RAGGED_AXIS else int(axis) for axis in axes]
    return np.full(shape, 0 if axes else length, dtype=DTYPES[spec.dtype])


def _open_session(
    bundle: Bundle, graph: GraphSpec, config: SessionConfig, threads: int
) -> onnxruntime.InferenceSession:
    path = bundle.path(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they come as exceptions with their text
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if config.spinning else "0")
    # Weights are stored in 8 bits. Left alone, ONNX Runtime dequantises them at every run, for kernels that this project
    # does not want (their activation scales tie a row to its neighbours); with this, once, when it loads the graph.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=list(config.providers))
    except (OSError, RuntimeError, ValueError, *_LOAD_ERRORS) as error:
        raise BadBundle(f"{path}: ONNX Runtime cannot load it: {_first_line(error)}") from None
    _check_providers(session, config)
    _check_tensors(path, "input", session.get_inputs(), graph.inputs)
    _check_tensors(path, "output", session.get_outputs(), graph.outputs)
    return session


_state = onnxruntime.capi.onnxruntime_pybind11_state
_LOAD_ERRORS: Final = (
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidGraph,
    _state.InvalidProtobuf,
    _state.NoSuchFile,
    _state.NotImplemented,
    _state.RuntimeException,
)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _check_providers(session: onnxruntime.InferenceSession, config: SessionConfig) -> None:
    """Refuse a silent fall-back: onnxruntime-gpu runs on the CPU without raising where CUDA cannot be loaded."""
    asked = list(config.providers) if CPU in config.providers else [*config.providers, CPU]
    given = session.get_providers()
    if given != asked:
        raise BadConfiguration(f"providers: asked for {', '.join(asked)}; ONNX Runtime gave {', '.join(given)}")


def _check_tensors(path: Path, kind: str, actual: Sequence[Any], expected: Sequence[TensorSpec]) -> None:
    """Compare a graph's own signature with the manifest's: names, order, dtypes, and which axes are free."""
    of_graph = [_describe(node.name, _RUNTIME_TYPES.get(node.type, node.type), node.shape) for node in actual]
    of_manifest = [_describe(spec.name, spec.dtype, spec.axes) for spec in expected]
    if of_graph != of_manifest:
        differing = [f"{name} only in the graph" for name in of_graph if name not in of_manifest]
        differing += [f"{name} only in the manifest" for name in of_manifest if name not in of_graph]
        raise BadBundle(f"{path}: its {kind}s are not those of the manifest: {'; '.join(differing) or 'another order'}")


def _describe(name: str, dtype: str, axes: Sequence[str | int | None]) -> str:
    """Write a tensor as `name: dtype[sizes]`, a free axis as `?`."""
    return f"{name}: {dtype}[{', '.join(str(axis) if isinstance(axis, int) else '?' for axis in axes)}]"
