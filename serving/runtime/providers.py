"""Execution providers: their names, the options they are given, and why one did not load."""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from serving.precision import CPU

CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
GPU: Final = (CUDA, TENSORRT)
"""Those whose tensors stay on an NVIDIA device between two runs."""

SHORT_NAMES: Final[Mapping[str, str]] = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}

_LIBRARIES: Final[Mapping[str, str]] = {
    CUDA: "libonnxruntime_providers_cuda.so",
    TENSORRT: "libonnxruntime_providers_tensorrt.so",
}
_SHARED_LIBRARY: Final = "libonnxruntime_providers_shared.so"
_REMEDIES: Final[Mapping[str, str]] = {
    CUDA: "CUDA and cuDNN come with beamstep[gpu], or on LD_LIBRARY_PATH",
    TENSORRT: "TensorRT comes from NVIDIA, on LD_LIBRARY_PATH",
}
NOT_IN_TENSORRT: Final = "NonMaxSuppression,NonZero,RoiAlign,TopK"
"""ONNX Runtime's own list, and TopK: TensorRT takes up to 3,840 candidates, and an ensemble asks for the whole vocabulary."""


def provider_names(text: str) -> tuple[str, ...]:
    """Return the full names of a list such as `tensorrt,cuda`, in order; full names may stand in it too."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(SHORT_NAMES.get(name.lower(), name) for name in names)


def provider_options(
    provider: str,
    *,
    device_id: int,
    float16: bool,
    cache: Path | None = None,
    profiles: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return what a provider is told for one graph.

    Args:
        provider: its full name.
        device_id: which GPU.
        float16: whether the graph computes in float16.
        cache: where TensorRT keeps the engines that it builds; None builds them at every start.
        profiles: TensorRT's shape ranges, as serving/runtime/profiles.py writes them.
    """
    if provider == CUDA:
        return {
            "device_id": str(device_id),
            # float32 means float32: TF32 keeps 10 bits of the mantissa, and tokens would not be PyTorch's.
            "use_tf32": "0",
            # The default times all algorithms for every new shape, in the middle of a request.
            "cudnn_conv_algo_search": "HEURISTIC",
        }
    if provider != TENSORRT:
        return {}
    options = {
        "device_id": str(device_id),
        "trt_fp16_enable": "True" if float16 else "False",
        "trt_op_types_to_exclude": NOT_IN_TENSORRT,
    }
    if cache is not None:
        options |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(cache),
        }
    return options | dict(profiles or {})


def why_not_loaded(provider: str, folder: Path) -> str:
    """Say why a provider that is in the build did not load: its library is loaded here as ONNX Runtime would.

    Args:
        provider: its full name.
        folder: where ONNX Runtime's own libraries are.
    """
    if provider not in _LIBRARIES:
        return "ONNX Runtime's own lines above may say"
    library = folder / _LIBRARIES[provider]
    if not library.exists():
        return f"{library} is not there; {_REMEDIES[provider]}"
    try:
        # The provider's library takes symbols from the shared one, which ONNX Runtime has loaded before it.
        ctypes.CDLL(str(folder / _SHARED_LIBRARY), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{error}; {_REMEDIES[provider]}"
    return "its libraries load, so it is the driver or the device: see nvidia-smi and ONNX Runtime's own lines above"
