"""What a generator of load sent, and what became of it."""

from dataclasses import dataclass

from grpc import StatusCode


@dataclass(frozen=True)
class Sent:
    """One call, on the clock of the machine (time.perf_counter), which all its processes share.

    Attributes:
        due: when it should have begun.
        began: when it did; the difference is the generator's own delay.
        ended: when it was over.
        code: how; the number of the status.
    """

    due: float
    began: float
    ended: float
    code: int

    @property
    def ok(self) -> bool:
        """Say whether it was answered."""
        return self.code == StatusCode.OK.value[0]

    @property
    def refused(self) -> bool:
        """Say whether it was turned away."""
        return self.code == StatusCode.RESOURCE_EXHAUSTED.value[0]


@dataclass(frozen=True)
class Offered:
    """What was sent, and from when to when.

    Attributes:
        sent: every call.
        began: when the first was due.
        ended: when no more were.
        processor_s: what sending them, and reading what came, took of a core.
    """

    sent: tuple[Sent, ...]
    began: float
    ended: float
    processor_s: float = 0.0

    def answered_per_second(self, skip_s: float = 0.0) -> float:
        """Return the answers of a second, those that came in the first `skip_s` aside."""
        since = self.began + skip_s
        return sum(one.ok and since <= one.ended <= self.ended for one in self.sent) / (self.ended - since)
