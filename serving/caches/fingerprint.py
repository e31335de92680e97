"""Keys of caches: a hash of everything that an answer depends on."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

KEY_BYTES: Final = 32
"""Long enough that nobody finds two inputs with the same hash."""


def fingerprint(words: tuple[str | bytes, ...], inputs: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Return a hash of some words and of one source's arrays, names, shapes and types included."""
    hashed = hashlib.blake2b(digest_size=KEY_BYTES)
    for word in words:
        _add(hashed, word.encode() if isinstance(word, str) else word)
    for name in sorted(inputs):
        array = inputs[name]
        _add(hashed, f"{name} {array.dtype.str} {array.shape}".encode())
        _add(hashed, np.ascontiguousarray(array).tobytes())
    return hashed.digest()


def _add(hashed: Any, part: bytes) -> None:
    """Hash a part after its length, so that no two lists of parts read the same."""
    hashed.update(len(part).to_bytes(8, "little"))
    hashed.update(part)
