"""Sources that were encoded before: their memory and first states, so that the encoder need not run for them again."""

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.caches.fingerprint import fingerprint
from serving.caches.lru import ByteCache, CacheStats
from serving.decoding.step import Encoded, Tensors
from serving.request import Inputs

ARRAY_BYTES: Final = 128
"""What an array takes beside its numbers."""
MASK: Final = "memory_mask"

Arrays = dict[str, NDArray[np.generic]]


class MemoryCache:
    """Encoded sources of all models, on the host: what a model keeps on a device is not cached."""

    def __init__(self, limit_bytes: int) -> None:
        """Hold up to so many bytes, at least 1."""
        self._entries: ByteCache[tuple[Arrays, Arrays]] = ByteCache(limit_bytes)
        self._numbers = itertools.count()

    def of_model(self) -> "ModelMemoryCache":
        """Return the part of one model, which no other shares: one loaded later under the same name finds nothing in it."""
        return ModelMemoryCache(self._entries, str(next(self._numbers)))

    def snapshot(self) -> CacheStats:
        """Return what it holds and did."""
        return self._entries.snapshot()


class ModelMemoryCache:
    """Encoded sources of one model."""

    def __init__(self, entries: ByteCache[tuple[Arrays, Arrays]], name: str) -> None:
        self._entries = entries
        self._name = name

    def key(self, inputs: Inputs) -> bytes:
        """Return the key of a source."""
        return fingerprint((self._name,), inputs)

    def get(self, key: bytes) -> Encoded | None:
        """Return a source as a batch of one, in arrays that may be written to; None where it is not there."""
        found = self._entries.get(key)
        if found is None:
            return None
        memory, state = found
        return Encoded({name: array[None].copy() for name, array in memory.items()}, _batched(state))

    def put(self, keys: Sequence[bytes], encoded: Encoded) -> None:
        """Keep the sources of a batch, each cut to its own length."""
        tensors = {**encoded.memory, **encoded.state}
        if not all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
            return
        lengths = np.asarray(encoded.memory[MASK]).sum(axis=1, dtype=np.int64).tolist()
        for row, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            memory = {name: np.asarray(tensor)[row, :length].copy() for name, tensor in encoded.memory.items()}
            state = {name: np.asarray(tensor)[row].copy() for name, tensor in encoded.state.items()}
            arrays = [*memory.values(), *state.values()]
            self._entries.put(key, (memory, state), sum(array.nbytes + ARRAY_BYTES for array in arrays))


def _batched(state: Arrays) -> Tensors:
    return {name: array[None].copy() for name, array in state.items()}
