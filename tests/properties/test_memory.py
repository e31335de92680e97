"""The memory pool over random comings and goings: a slot holds its source, padded with zeros, until it is given back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.memory import WASTE, MemoryPool

turns = st.lists(st.tuples(st.lists(st.integers(1, 40), max_size=3), st.integers(0, 3)), max_size=12)


def encoded(lengths, first):
    """Make memory whose numbers say which source and which position they belong to."""
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    number = np.arange(first, first + len(lengths))[:, None] * 1000 + np.arange(max(lengths)) + 1
    memory = np.where(mask, number, 0).astype(np.float32)[..., None]
    return {"memory": memory.repeat(2, axis=2), "memory_mask": mask, "memory.keys": -memory}


@given(turns, st.randoms(use_true_random=False))
def test_a_slot_holds_its_source_until_it_is_given_back(turns, random):
    pool = MemoryPool()
    held: dict[int, tuple[int, int]] = {}
    number = 0
    for lengths, leaving in turns:
        if lengths:
            slots, stored_lengths = pool.add(encoded(lengths, number))
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
            for name, tensor in pool.tensors.items():
                np.testing.assert_array_equal(tensor[slot, :length], wanted[name][0])
                assert not tensor[slot, length:].any()
        for slot in random.sample(sorted(held), min(leaving, len(held))):
            pool.release(slot)
            del held[slot]
