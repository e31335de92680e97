"""Shapes rounded up to a few sizes, so that a GPU meets each of them while it warms up and none for the first time in a request.

What is added is inert: positions that the mask hides, tokens that are never banned (`pad`), and rows that are the first row again,
whose answers are thrown away. No row's answer depends on another row, so the others keep theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.manifest import TensorSpec

COUNTED: Final = frozenset({"N", "Q", "R"})
"""Axes of sources and rows, which are filled up with the first again."""
RAGGED: Final = frozenset({"M", "S"})
"""Axes of bans and positions, which are filled up with `pad`, and what is no token id with zeros."""


@dataclass(frozen=True)
class Padding:
    """Which sizes there are.

    Attributes:
        widths: of sources, ascending: the manifest's buckets. A longer source keeps its length.
    """

    widths: tuple[int, ...]

    def count(self, size: int) -> int:
        """Return the next power of two."""
        return 1 << max(0, size - 1).bit_length()

    def width(self, size: int) -> int:
        """Return the next bucket."""
        return next((width for width in self.widths if width >= size), size)

    def of(self, axis: str | int, size: int) -> int:
        """Return what a size becomes on an axis that the manifest names so."""
        if axis == "S":
            return self.width(size)
        return self.count(size) if axis in COUNTED or axis == "M" else size


@dataclass(frozen=True)
class Unpadded(Padding):
    """Every size as it is."""

    widths: tuple[int, ...] = ()

    def count(self, size: int) -> int:
        """Return the size."""
        return size


def pad_array(array: NDArray[np.generic], spec: TensorSpec, padding: Padding, pad: int) -> NDArray[np.generic]:
    """Round an input's shape up.

    Args:
        array: shaped as `spec` says.
        spec: the input as the manifest has it.
        padding: to which sizes.
        pad: fills ragged axes of integers.

    Returns:
        an array in one piece, which is the one given where nothing is to be added.
    """
    shape = tuple(padding.of(axis, size) for axis, size in zip(spec.axes, array.shape, strict=True))
    if shape == array.shape:
        return array if array.flags.c_contiguous else array.copy()
    ragged = RAGGED.intersection(axis for axis in spec.axes if isinstance(axis, str))
    padded = np.full(shape, pad if ragged and array.dtype.kind == "i" else 0, array.dtype)
    padded[tuple(map(slice, array.shape))] = array
    if spec.axes[0] in COUNTED:
        padded[len(array) :] = padded[0]
    return padded


def sizes_of(spec: TensorSpec, shape: tuple[int, ...]) -> Mapping[str, int]:
    """Return the size of each free axis by its letter."""
    return {axis: size for axis, size in zip(spec.axes, shape, strict=True) if isinstance(axis, str)}
