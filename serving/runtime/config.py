"""How ONNX Runtime runs a bundle."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import onnxruntime

from serving.cores import cores
from serving.errors import BadConfiguration
from serving.manifest import Precision
from serving.precision import CPU
from serving.runtime.providers import GPU

FROM_ONE: Final = ("encoder_threads", "step_threads", "batch_rows", "batch_sources", "encode_sources")


@dataclass(frozen=True)
class SessionConfig:
    """How ONNX Runtime runs a bundle.

    The step has a thread pool of its own of up to two threads and the encoder none: two pools that both spin halve the
    speed of one request, and a step is too small for more threads. The defaults follow the container's CPU limit; serving/cores.py.

    Attributes:
        providers: full names of execution providers in order of preference; ONNX Runtime adds the CPU at the end.
        encoder_threads: threads within one encoder run; from 1.
        step_threads: threads within one step; from 1.
        precision: which of a bundle's graphs to run; None takes the best for the provider.
        spinning: whether idle threads of a pool burn their core for a moment before they sleep: faster on an idle machine,
            2 to 3 times the p99 on a shared one.
        allow_uncertified: whether to serve a precision that has no passing certificate for the provider.
        device_id: which GPU; from 0.
        tensorrt_cache: folder where TensorRT keeps the engines that it builds; None builds them at every start.
        io_binding: whether memory and states stay on the device between two runs; None where there is a GPU.
        pad_to_buckets: whether shapes are padded to a few sizes, which needs `io_binding`; None where there is a GPU.
        batch_rows: most rows of a step; what TensorRT's profiles and the warm-up of padded shapes reach to.
        batch_sources: most sources of a step.
        encode_sources: most sources encoded together.
    """

    providers: tuple[str, ...] = (CPU,)
    encoder_threads: int = 1
    step_threads: int = field(default_factory=lambda: cores().step_threads)
    precision: Precision | None = None
    spinning: bool = field(default_factory=lambda: cores().spinning)
    allow_uncertified: bool = False
    device_id: int = 0
    tensorrt_cache: Path | None = None
    io_binding: bool | None = None
    pad_to_buckets: bool | None = None
    batch_rows: int = 256
    batch_sources: int = 64
    encode_sources: int = 8

    def __post_init__(self) -> None:
        for name in FROM_ONE:
            if getattr(self, name) < 1:
                raise BadConfiguration(f"{name}: {getattr(self, name)}; allowed: from 1")
        if self.device_id < 0:
            raise BadConfiguration(f"device_id: {self.device_id}; allowed: from 0")
        if self.padded and not self.bound:
            raise BadConfiguration("pad_to_buckets: True without io_binding; allowed: both, or neither")
        available = onnxruntime.get_available_providers()
        missing = [provider for provider in self.providers if provider not in available]
        if missing or not self.providers:
            raise BadConfiguration(
                f"providers: asked for {', '.join(self.providers) or 'none'}; "
                f"this ONNX Runtime {onnxruntime.__version__} has {', '.join(available)}"
                f"{'; beamstep[gpu] has CUDA and TensorRT' if set(missing) & set(GPU) else ''}"
            )

    @property
    def on_gpu(self) -> bool:
        """Say whether a GPU provider runs the graphs."""
        return bool(self.providers) and self.providers[0] in GPU

    @property
    def bound(self) -> bool:
        """Say whether memory and states stay on the device."""
        return self.on_gpu if self.io_binding is None else self.io_binding

    @property
    def padded(self) -> bool:
        """Say whether shapes are padded to a few sizes."""
        return self.on_gpu if self.pad_to_buckets is None else self.pad_to_buckets
