"""Memory and states, wherever they are: NumPy arrays, or tensors that a model keeps on its device between two steps.

To the engine the latter are opaque. It needs four operations on either kind, which stand here.
"""

from collections.abc import Sequence
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray


class DeviceTensor(Protocol):
    """A tensor (count, ...) on some device. Operations return others and leave this one as it is."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes."""

    def on_host(self) -> NDArray[np.generic]:
        """Return a copy as an array."""

    def joined(self, others: Sequence["Tensor"]) -> Self:
        """Append the rows of others."""

    def resized(self, count: int, width: int) -> Self:
        """Cut or fill up with zeros to (count, width, ...)."""

    def written(self, slots: Sequence[int], tensor: "Tensor") -> Self:
        """Replace what stands in some slots of axis 0, with zeros behind the end of `tensor` on axis 1."""


Tensor: TypeAlias = NDArray[np.generic] | DeviceTensor


def on_host(tensor: Tensor) -> NDArray[np.generic]:
    """Return a tensor's numbers."""
    return tensor if isinstance(tensor, np.ndarray) else tensor.on_host()


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Put tensors one behind the other on axis 0; all are of the first one's kind, or arrays."""
    first, *others = tensors
    if not isinstance(first, np.ndarray):
        return first.joined(others)
    return np.concatenate([on_host(tensor) for tensor in tensors])


def resized(tensor: Tensor, count: int, width: int) -> Tensor:
    """Cut a tensor, or fill it up with zeros, to (count, width, ...)."""
    if not isinstance(tensor, np.ndarray):
        return tensor.resized(count, width)
    sized = np.zeros((count, width, *tensor.shape[2:]), tensor.dtype)
    kept = tensor[:count, :width]
    sized[: kept.shape[0], : kept.shape[1]] = kept
    return sized


def written(stored: Tensor, slots: Sequence[int], tensor: Tensor) -> Tensor:
    """Fill some slots of `stored`, with zeros behind the end of `tensor` on axis 1; an array is changed in place."""
    if not isinstance(stored, np.ndarray):
        return stored.written(slots, tensor)
    width = min(tensor.shape[1], stored.shape[1])
    stored[slots, :width] = on_host(tensor)[:, :width]
    stored[slots, width:] = 0
    return stored
