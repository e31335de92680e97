"""The encoder memory of all running requests, one slot a source."""

import numpy as np

from serving.decoding.step import Tensors
from serving.decoding.tensors import on_host, resized, written

WASTE = 2
"""Memory is made narrower again once it is this many times as long as the longest source in it."""


class MemoryPool:
    """Tensors (N, S, ...) whose slots on axis 0 are taken and given back, S being long enough for the longest source in use.

    A slot keeps its number as long as it is taken. Taking a slot writes that slot alone; all of the memory is copied only when
    slots run out, when a longer source comes, or when what is left is much shorter. On a device all of it is copied every time,
    there.
    """

    def __init__(self) -> None:
        self.tensors: Tensors = {}
        self._free: list[int] = []
        self._lengths: dict[int, int] = {}  # of the slots that are taken

    def add(self, memory: Tensors) -> tuple[list[int], list[int]]:
        """Store what an encoder said of some sources; return the slot and the length of each."""
        lengths = on_host(memory["memory_mask"]).sum(axis=1, dtype=np.int64).tolist()
        if not self._lengths:  # nobody else is here: what the encoder gave is the memory
            self.tensors = dict(memory)
            self._free = []
            slots = list(range(len(lengths)))
        else:
            self._make_room(len(lengths), max(lengths))
            slots = [self._free.pop() for _ in lengths]
            for name, tensor in memory.items():
                self.tensors[name] = written(self.tensors[name], slots, tensor)
        self._lengths.update(zip(slots, lengths, strict=True))
        return slots, lengths

    def release(self, slot: int) -> None:
        """Give a slot back."""
        del self._lengths[slot]
        self._free.append(slot)

    def _make_room(self, count: int, length: int) -> None:
        """See to it that `count` slots are free and wide enough for `length` positions, and not much wider than anyone needs."""
        capacity, width = self.tensors["memory_mask"].shape
        longest = max(length, *self._lengths.values())
        if count <= len(self._free) and longest <= width < WASTE * longest:
            return
        missing = count - len(self._free)
        grown = capacity if missing <= 0 else capacity + max(missing, capacity)
        self._free += range(capacity, grown)
        self.tensors = {name: resized(tensor, grown, longest) for name, tensor in self.tensors.items()}
