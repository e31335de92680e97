"""The memory pool over random comings and goings: a slot holds its source, padded with zeros, until it is given back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decoding.tensors import joined, on_host
from serving.manifest import TensorSpec
from serving.memory import WASTE, MemoryPool
from serving.runtime.device import Device, RuntimeTensor
from serving.runtime.padding import Padding, Unpadded, pad_array

PADDINGS = [Unpadded(), Padding((8, 16, 32))]
DEVICES = {padding: Device("CPUExecutionProvider", 0, padding) for padding in PADDINGS}
places = pytest.mark.parametrize("padding", [None, *PADDINGS])

turns = st.lists(st.tuples(st.lists(st.integers(1, 40), max_size=3), st.integers(0, 3)), max_size=12)


def encoded(lengths, first):
    """Make memory whose numbers say which source and which position they belong to."""
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    number = np.arange(first, first + len(lengths))[:, None] * 1000 + np.arange(max(lengths)) + 1
    memory = np.where(mask, number, 0).astype(np.float32)[..., None]
    return {
        "memory": memory.repeat(2, axis=2),
        "memory_mask": mask,
        "memory.keys": -memory,
        "memory.half": (memory % 2048).astype(np.float16),
    }


def put(array, padding, *axes):
    """Return an array itself, or on a device, as a graph would leave it there."""
    if padding is None:
        return array
    spec = TensorSpec(name="tensor", dtype=array.dtype.name, axes=(*axes, *array.shape[len(axes) :]))
    there = DEVICES[padding].hold(pad_array(array, spec, padding, 0))
    return RuntimeTensor(DEVICES[padding], there, array.shape)


@places
@given(turns, st.randoms(use_true_random=False))
def test_a_slot_holds_its_source_until_it_is_given_back(padding, turns, random):
    pool = MemoryPool()
    held: dict[int, tuple[int, int]] = {}
    number = 0
    for lengths, leaving in turns:
        if lengths:
            memory = encoded(lengths, number)
            slots, stored_lengths = pool.add({name: put(tensor, padding, "N", "S") for name, tensor in memory.items()})
            assert stored_lengths == lengths
            assert not set(slots) & held.keys()
            held |= {slot: (number + i, lengths[i]) for i, slot in enumerate(slots)}
            number += len(lengths)
            width = pool.tensors["memory"].shape[1]
            longest = max(length for _, length in held.values())
            assert longest <= width
            assert width <= max(WASTE * longest, *lengths)
        for slot, (source, length) in held.items():
            wanted = encoded([length], source)
            for name, stored in pool.tensors.items():
                tensor = on_host(stored)
                np.testing.assert_array_equal(tensor[slot, :length], wanted[name][0])
                assert not tensor[slot, length:].any()
        for slot in random.sample(sorted(held), min(leaving, len(held))):
            pool.release(slot)
            del held[slot]


@places
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=5))
def test_states_that_join_stand_behind_those_that_are_there(padding, given):
    """Some come from another road, as arrays."""
    arrays = [np.arange(rows * 3).reshape(rows, 3) + 100 * number for number, (rows, _) in enumerate(given)]
    tensors = [
        array if number and plain else put(array, padding, "Q")
        for number, (array, (_, plain)) in enumerate(zip(arrays, given, strict=True))
    ]
    whole = joined(tensors)
    assert whole.shape == (sum(rows for rows, _ in given), 3)
    np.testing.assert_array_equal(on_host(whole), np.concatenate(arrays))
