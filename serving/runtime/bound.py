"""A graph whose large tensors stay on the device: it reads them there, and leaves them there."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.decoding.tensors import Tensor, on_host
from serving.manifest import GraphSpec
from serving.runtime.device import Device, RuntimeTensor
from serving.runtime.padding import pad_array, sizes_of

STAYING: Final = ("memory", "memory_mask", "state", "next_state")
"""The outputs that stay, up to the dot in their names. All others cross: tokens, scores and attention that was asked for."""


class BoundGraph:
    """Runs a graph as `onnxruntime.InferenceSession.run` does, with IOBinding."""

    def __init__(self, session: onnxruntime.InferenceSession, graph: GraphSpec, device: Device, pad: int) -> None:
        """Bind to a session.

        Args:
            session: the graph, loaded.
            graph: its signature; the letters of the axes say what may be padded, and what of the outputs counts.
            device: where its tensors stay.
            pad: the token id that fills up.
        """
        self._session = session
        self._binding = session.io_binding()
        self._inputs = graph.inputs
        self._axes = {spec.name: spec for spec in graph.outputs}
        self._device = device
        self._pad = pad

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the outputs that are named, padding cut off."""
        binding = self._binding
        sizes: dict[str, int] = {}
        for spec in self._inputs:
            tensor = input_feed[spec.name]
            sizes |= sizes_of(spec, tensor.shape)
            if isinstance(tensor, RuntimeTensor):
                binding.bind_ortvalue_input(spec.name, tensor.value)
            else:
                binding.bind_cpu_input(spec.name, pad_array(on_host(tensor), spec, self._device.padding, self._pad))
        for name in output_names:
            stays = name.partition(".")[0] in STAYING
            binding.bind_output(name, *((self._device.kind, self._device.number) if stays else ("cpu", 0)))
        self._session.run_with_iobinding(binding)
        values = binding.get_outputs()
        binding.clear_binding_inputs()  # what it holds is not free for others
        binding.clear_binding_outputs()
        return [self._output(name, value, sizes) for name, value in zip(output_names, values, strict=True)]

    def _output(self, name: str, value: onnxruntime.OrtValue, sizes: Mapping[str, int]) -> Tensor:
        """Return one output in the sizes that the inputs had."""
        axes = self._axes[name].axes
        shape = tuple(sizes.get(str(axis), there) for axis, there in zip(axes, value.shape(), strict=True))
        if name.partition(".")[0] in STAYING:
            return RuntimeTensor(self._device, value, shape)
        array: NDArray[np.generic] = value.numpy()[tuple(map(slice, shape))]
        return array
