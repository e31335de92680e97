"""A bundle's graph on ONNX Runtime, checked: its providers are those asked for, its tensors those of the manifest.

What was measured for the options set here stands in docs/log.md, "Export and ONNX Runtime sessions".
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime

from serving.bundle import Bundle
from serving.errors import BadBundle, BadConfiguration
from serving.manifest import GraphSpec, Precision, TensorSpec
from serving.precision import CPU
from serving.runtime.config import SessionConfig
from serving.runtime.providers import why_not_loaded

logger = logging.getLogger(__name__)

Options = Mapping[str, Mapping[str, str]]
"""Provider options by the provider's full name."""

RUNTIME_TYPES: Final = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}
_state = onnxruntime.capi.onnxruntime_pybind11_state
_LOAD_ERRORS: Final = (
    OSError,
    RuntimeError,
    ValueError,
    _state.EPFail,
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidGraph,
    _state.InvalidProtobuf,
    _state.NoSuchFile,
    _state.NotImplemented,
    _state.RuntimeException,
)


def open_graph(  # noqa: PLR0917 - what there is to say of a session
    bundle: Bundle, graph: GraphSpec, precision: Precision, config: SessionConfig, threads: int, options: Options
) -> onnxruntime.InferenceSession:
    """Load a graph of a precision.

    Raises:
        BadBundle: it cannot be loaded, or is not what the manifest says.
        BadConfiguration: a provider did not load, or runs nothing of the graph.
    """
    path = bundle.path(graph)
    if config.on_gpu:
        onnxruntime.preload_dlls()  # CUDA and cuDNN as pip installs them are on no path that the loader searches
    try:
        session = _open(path, config.providers, _settings(precision, config, threads), options)
    except _LOAD_ERRORS as error:
        if config.providers != (CPU,) and _opens_on_cpu(path, config, precision):
            raise _not_given(config, error=_first_line(error)) from None
        raise BadBundle(f"{path}: ONNX Runtime cannot load it: {_first_line(error)}") from None
    _check_providers(session, config)
    _check_tensors(path, "input", session.get_inputs(), graph.inputs)
    _check_tensors(path, "output", session.get_outputs(), graph.outputs)
    if config.providers[0] != CPU:
        _report_nodes(session, f"{bundle.key} {graph.file}", config.providers)
    return session


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """Load any graph on the CPU, to look at its tensors.

    Raises:
        BadBundle: it cannot be loaded.
    """
    try:
        return onnxruntime.InferenceSession(path, session_options(1, spinning=False), providers=[CPU])
    except _LOAD_ERRORS as error:
        raise BadBundle(f"{path}: ONNX Runtime cannot load it: {_first_line(error)}") from None


def session_options(threads: int, *, spinning: bool) -> onnxruntime.SessionOptions:
    """Return the options that all sessions have in common."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they come as exceptions with their text
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    return options


def _settings(precision: Precision, config: SessionConfig, threads: int) -> onnxruntime.SessionOptions:
    """Return the options of a session that runs a graph of a precision."""
    settings = session_options(threads, spinning=config.spinning)
    if precision != "int8":
        # A DequantizeLinear in other graphs is how a weight is stored. Left alone, ONNX Runtime computes it at every run, in the
        # hope of integer kernels around it; with this, once, when it loads the graph.
        settings.add_session_config_entry("session.disable_quant_qdq", "1")
    if config.providers[0] != CPU:
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return settings


def _open(
    path: Path, providers: Sequence[str], settings: onnxruntime.SessionOptions, options: Options
) -> onnxruntime.InferenceSession:
    # Left alone, Python opens the graph on the CPU when a provider fails, now or in the middle of a run, and only prints that.
    return onnxruntime.InferenceSession(
        path, settings, providers=[(name, dict(options.get(name, {}))) for name in providers], enable_fallback=0
    )


def _opens_on_cpu(path: Path, config: SessionConfig, precision: Precision) -> bool:
    """Say whether a graph that did not load is sound, so that its provider is at fault."""
    try:
        _open(path, (CPU,), _settings(precision, config, 1), {})
    except _LOAD_ERRORS:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _check_providers(session: onnxruntime.InferenceSession, config: SessionConfig) -> None:
    """Refuse a silent fall-back: onnxruntime-gpu runs on the CPU without raising where CUDA cannot be loaded."""
    given = session.get_providers()
    if given != _expected(config):
        raise _not_given(config, given=given)


def _expected(config: SessionConfig) -> list[str]:
    return list(config.providers) if CPU in config.providers else [*config.providers, CPU]


def _not_given(config: SessionConfig, given: Sequence[str] = (), error: str = "") -> BadConfiguration:
    """Return the refusal of a start without a provider that was asked for, with the reason for each that is missing."""
    folder = Path(onnxruntime.capi.__file__).parent
    missing = [name for name in config.providers if name not in given and name != CPU]
    reasons = [f"{name}: {why_not_loaded(name, folder)}" for name in missing]
    gave = f"ONNX Runtime gave {', '.join(given)}" if given else f"ONNX Runtime says {error}"
    return BadConfiguration(
        f"providers: asked for {', '.join(_expected(config))}; {gave}; reason: {'; '.join(reasons)}"
    )


def _report_nodes(session: onnxruntime.InferenceSession, name: str, providers: Sequence[str]) -> None:
    """Log which provider runs which nodes, and refuse a graph of which none of those asked for runs any.

    Some nodes on the CPU are right: ONNX Runtime itself puts there what computes shapes, whose results the host needs before it can
    launch a kernel. So they are counted, not forbidden (`session.disable_cpu_ep_fallback` would forbid these too).
    """
    nodes: Counter[str] = Counter()
    on_cpu: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        operators = [node.op_type for node in subgraph.get_nodes()]
        nodes[subgraph.ep_name] += len(operators)
        if subgraph.ep_name == CPU:
            on_cpu.update(operators)
    counts = ", ".join(f"{count} nodes on {provider}" for provider, count in nodes.items())
    if not any(nodes[provider] for provider in providers if provider != CPU):
        raise BadConfiguration(f"providers: {name}: asked for {', '.join(providers)}; all of its nodes are on {CPU}")
    logger.info("%s: %s (%s)", name, counts, ", ".join(f"{count} {kind}" for kind, count in on_cpu.most_common()))


def _check_tensors(path: Path, kind: str, actual: Sequence[Any], expected: Sequence[TensorSpec]) -> None:
    """Compare a graph's own signature with the manifest's: names, order, dtypes, and which axes are free."""
    of_graph = [_describe(node.name, RUNTIME_TYPES.get(node.type, node.type), node.shape) for node in actual]
    of_manifest = [_describe(spec.name, spec.dtype, spec.axes) for spec in expected]
    if of_graph != of_manifest:
        differing = [f"{name} only in the graph" for name in of_graph if name not in of_manifest]
        differing += [f"{name} only in the manifest" for name in of_manifest if name not in of_graph]
        raise BadBundle(f"{path}: its {kind}s are not those of the manifest: {'; '.join(differing) or 'another order'}")


def _describe(name: str, dtype: str, axes: Sequence[str | int | None]) -> str:
    """Write a tensor as `name: dtype[sizes]`, a free axis as `?`."""
    return f"{name}: {dtype}[{', '.join(str(axis) if isinstance(axis, int) else '?' for axis in axes)}]"
