"""Answers that were searched for before, for requests that are equal in everything an answer depends on."""

import pickle

from serving.caches.lru import ByteCache, CacheStats
from serving.request import CacheHit, Decoded


class AnswerCache:
    """Answers of all models by the key of their request; each is kept as bytes, so that its size is known and nobody changes it."""

    def __init__(self, limit_bytes: int) -> None:
        """Hold up to so many bytes, at least 1."""
        self._entries: ByteCache[bytes] = ByteCache(limit_bytes)

    def get(self, key: bytes) -> Decoded | None:
        """Return the answer that an equal request got; its times and steps are 0. None where it is not there."""
        found = self._entries.get(key)
        if found is None:
            return None
        return Decoded(pickle.loads(found), 0.0, 0.0, 0.0, 0, cache_hit=CacheHit.ANSWER)

    def put(self, key: bytes, decoded: Decoded) -> None:
        """Keep an answer, unless its search was cut short by a deadline."""
        if not decoded.deadline_reached:
            written = pickle.dumps(decoded.hypotheses, pickle.HIGHEST_PROTOCOL)
            self._entries.put(key, written, len(written))

    def snapshot(self) -> CacheStats:
        """Return what it holds and did."""
        return self._entries.snapshot()
