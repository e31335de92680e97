"""A cache that is bounded in bytes: what was used longest ago goes first."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

ENTRY_BYTES: Final = 256
"""What an entry takes beside its value: its key, and its place."""


@dataclass(frozen=True)
class CacheStats:
    """What a cache holds, and what it did since it was made.

    Attributes:
        hits: look-ups that found something.
        misses: look-ups that did not.
        evictions: entries that went to make room.
        entries: that it holds.
        held_bytes: that they take.
        limit_bytes: that they may take.
    """

    hits: int
    misses: int
    evictions: int
    entries: int
    held_bytes: int
    limit_bytes: int


class ByteCache(Generic[Value]):
    """Values by key; safe to use from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        """Hold nothing yet, and never more than `limit_bytes`, at least 1."""
        assert limit_bytes >= 1
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()  # used longest ago first
        self._lock = threading.Lock()
        self._held_bytes = self._hits = self._misses = self._evictions = 0

    def get(self, key: bytes) -> Value | None:
        """Return what was put there; None where it is gone or never was."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._misses += 1
                return None
            self._hits += 1
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: bytes, value: Value, value_bytes: int) -> None:
        """Keep a value that takes so many bytes, in place of an older one; one too large for the whole cache is not kept."""
        size = value_bytes + ENTRY_BYTES
        with self._lock:
            _, before = self._entries.pop(key, (None, 0))
            self._held_bytes -= before
            if size > self._limit_bytes:
                return
            self._entries[key] = (value, size)
            self._held_bytes += size
            while self._held_bytes > self._limit_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self._held_bytes -= freed
                self._evictions += 1

    def snapshot(self) -> CacheStats:
        """Return what it holds and did, all at one moment."""
        with self._lock:
            return CacheStats(
                self._hits,
                self._misses,
                self._evictions,
                len(self._entries),
                self._held_bytes,
                self._limit_bytes,
            )
