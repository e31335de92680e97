"""Shapes that are rounded up to a few sizes, and what fills them."""

import numpy as np
import pytest

from serving.manifest import TensorSpec
from serving.runtime.padding import Padding, Unpadded, pad_array

PADDING = Padding((8, 32))


def spec(name, dtype, *axes):
    return TensorSpec(name=name, dtype=dtype, axes=axes)


@pytest.mark.parametrize(
    ("axis", "sizes"),
    [
        ("S", {1: 8, 8: 8, 9: 32, 33: 33}),
        ("R", {1: 1, 2: 2, 5: 8, 256: 256}),
        ("M", {0: 1, 1: 1, 3: 4}),
        (512, {512: 512}),
        ("k", {5: 5}),
    ],
)
def test_sizes_are_rounded_up_by_what_their_axis_is(axis, sizes):
    assert {size: PADDING.of(axis, size) for size in sizes} == sizes
    assert all(Unpadded().of(axis, size) == size for size in sizes)


def test_what_is_added_is_pad_zeros_and_the_first_row_again():
    tokens = pad_array(np.array([[5, 6], [7, 2], [3, 3]]), spec("source_tokens", "int64", "N", "S"), PADDING, 9)
    assert tokens.tolist() == [[5, 6] + [9] * 6, [7, 2] + [9] * 6, [3, 3] + [9] * 6, [5, 6] + [9] * 6]
    points = pad_array(np.ones((1, 2, 2)), spec("points", "float64", "N", "S", 2), PADDING, 9)
    assert points.shape == (1, 8, 2)
    assert not points[:, 2:].any()
    assert pad_array(np.array([4, 5, 6]), spec("parent", "int64", "R"), PADDING, 9).tolist() == [4, 5, 6, 4]
    assert pad_array(np.zeros((1, 0), np.int64), spec("banned", "int64", "R", "M"), PADDING, 9).tolist() == [[9]]


def test_what_fits_is_given_back_in_one_piece():
    whole = np.zeros((4, 8))
    assert pad_array(whole, spec("x", "float64", "N", "S"), PADDING, 0) is whole
    assert pad_array(whole[:, ::2], spec("x", "float64", "N", 4), PADDING, 0).flags.c_contiguous
    assert pad_array(np.array(3), spec("candidates", "int64"), PADDING, 0).shape == ()
