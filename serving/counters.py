"""What the engine did, in numbers."""

import threading
from dataclasses import dataclass, field, fields


@dataclass
class Counters:
    """What the engine did since it was made; added to by its threads, free for anyone to read.

    Every request that was submitted ends in exactly one of finished, cancelled, expired, displaced and failed.

    Attributes:
        submitted: taken into a queue.
        refused: turned away because the queue was full.
        hopeless: turned away because their deadline could not be met.
        finished: answered.
        returned_early: those of them that were answered with their best so far when their deadline came.
        cancelled: withdrawn by the caller, waiting or running.
        expired: overtaken by their deadline, waiting or running.
        displaced: had to leave a full queue for others, see `FairQueue.displaced_by`.
        failed: by a fault of the model, or the end of the engine.
        evicted_rows: rows that were in a batch when their request was cancelled or expired.
        encoder_runs: of all models.
        steps: of all models.
        rows: summed over the steps.
    """

    submitted: int = 0
    refused: int = 0
    hopeless: int = 0
    finished: int = 0
    returned_early: int = 0
    cancelled: int = 0
    expired: int = 0
    displaced: int = 0
    failed: int = 0
    evicted_rows: int = 0
    encoder_runs: int = 0
    steps: int = 0
    rows: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def add(self, **amounts: int) -> None:
        """Add to some of them; from any thread."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def as_dict(self) -> dict[str, int]:
        """Return them by name, all of one moment."""
        with self._lock:
            return {one.name: getattr(self, one.name) for one in fields(self) if one.init}
