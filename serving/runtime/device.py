"""Tensors that stay on a device between two graph runs, and the operations on them, which are graph runs of their own."""

from collections.abc import Sequence
from typing import Final, Self, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.decoding.tensors import Tensor
from serving.precision import CPU
from serving.runtime.opening import RUNTIME_TYPES, session_options
from serving.runtime.padding import Padding
from serving.runtime.providers import CUDA, GPU, provider_options
from serving.runtime.take_graph import Axis, take_graph

Value: TypeAlias = onnxruntime.OrtValue
IntArray = NDArray[np.int64]


class Device:
    """Where the tensors of a model are. The host's own memory is one too: tests take this road on it.

    Attributes:
        kind: `cuda` or `cpu`, as ONNX Runtime calls it.
        number: which of its kind.
        padding: the sizes that tensors have there.
    """

    def __init__(self, provider: str, number: int, padding: Padding) -> None:
        """Use a provider's device; TensorRT's is CUDA's, which moves rows without an engine."""
        self.kind = "cuda" if provider in GPU else "cpu"
        self.number = number if self.kind == "cuda" else 0
        self.padding = padding
        name = CUDA if self.kind == "cuda" else CPU
        self._provider = (name, provider_options(name, device_id=self.number, float16=False))
        self._sessions: dict[tuple[str, int, Axis], onnxruntime.InferenceSession] = {}

    def hold(self, array: NDArray[np.generic]) -> Value:
        """Copy an array there."""
        return Value.ortvalue_from_numpy(array, self.kind, self.number)

    def take(self, first: Value, second: Value, indices: IntArray, axis: Axis) -> Value:
        """Return what stands at `indices` of `first` and `second`, one behind the other on `axis`."""
        dtype, rank = RUNTIME_TYPES[first.data_type()], len(first.shape())
        binding = self._session(dtype, rank, axis).io_binding()
        binding.bind_ortvalue_input("first", first)
        binding.bind_ortvalue_input("second", second)
        binding.bind_cpu_input("indices", indices)
        binding.bind_output("taken", self.kind, self.number)
        self._session(dtype, rank, axis).run_with_iobinding(binding)
        [taken] = binding.get_outputs()
        return taken

    def _session(self, dtype: str, rank: int, axis: Axis) -> onnxruntime.InferenceSession:
        """Return the graph that takes; made when it is first needed, which is while the model warms up."""
        key = (dtype, rank, axis)
        if key not in self._sessions:
            self._sessions[key] = onnxruntime.InferenceSession(
                take_graph(dtype, rank, axis),
                session_options(1, spinning=False),
                providers=[self._provider],
                enable_fallback=0,
            )
        return self._sessions[key]


class RuntimeTensor:
    """A `serving.decoding.tensors.DeviceTensor` of ONNX Runtime.

    Attributes:
        value: what is on the device; its first axes may be longer than `shape` says, see serving/runtime/padding.py. What stands
            beyond is read by nobody, except that a longer memory's mask is False there.
        shape: the sizes that count.
    """

    def __init__(self, device: Device, value: Value, shape: tuple[int, ...]) -> None:
        self._device = device
        self.value: Final = value
        self._shape = shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes."""
        return self._shape

    def on_host(self) -> NDArray[np.generic]:
        """Return a copy as an array."""
        array: NDArray[np.generic] = self.value.numpy()[tuple(map(slice, self._shape))]
        return array.copy()

    def joined(self, others: Sequence[Tensor]) -> Self:
        """Append the rows of others."""
        one = self
        for other in others:
            one = one._followed_by(self._held(other))
        return one

    def resized(self, count: int, width: int) -> Self:
        """Cut or fill up with zeros to (count, width, ...)."""
        if (count, width) == self._shape[:2]:
            return self
        return self._sized(1, width)._sized(0, count)

    def written(self, slots: Sequence[int], tensor: Tensor) -> Self:
        """Replace what stands in some slots of axis 0, with zeros behind the end of `tensor` on axis 1."""
        source = self._held(tensor).resized(tensor.shape[0], self._shape[1])
        room = self.value.shape()[0]
        indices = np.arange(room)
        indices[slots] = room + np.arange(len(slots))
        return self._with(self._device.take(self.value, source.value, indices, 0), self._shape)

    def _followed_by(self, other: Self) -> Self:
        own, count = self._shape[0], self._shape[0] + other.shape[0]
        indices = np.zeros(self._device.padding.count(count), np.int64)
        indices[:own] = np.arange(own)
        indices[own:count] = self.value.shape()[0] + np.arange(other.shape[0])
        return self._with(self._device.take(self.value, other.value, indices, 0), (count, *self._shape[1:]))

    def _sized(self, axis: Axis, size: int) -> Self:
        """Cut or fill up one axis: what is added is taken from a slice of zeros that stands behind the end."""
        if size == self._shape[axis]:
            return self
        there = list(self.value.shape())
        padding = self._device.padding
        indices = np.full(padding.width(size) if axis else padding.count(size), there[axis])
        kept = min(size, self._shape[axis])
        indices[:kept] = np.arange(kept)
        there[axis] = 1
        zeros = self._device.hold(np.zeros(there, RUNTIME_TYPES[self.value.data_type()]))
        shape = (*self._shape[:axis], size, *self._shape[axis + 1 :])
        return self._with(self._device.take(self.value, zeros, indices, axis), shape)

    def _held(self, tensor: Tensor) -> Self:
        """Return a tensor on this device; what is there already as it is."""
        if isinstance(tensor, np.ndarray):
            return self._with(self._device.hold(np.ascontiguousarray(tensor)), tensor.shape)
        assert isinstance(tensor, type(self)), f"a tensor of another kind: {type(tensor)}"
        return tensor

    def _with(self, value: Value, shape: tuple[int, ...]) -> Self:
        return type(self)(self._device, value, shape)
