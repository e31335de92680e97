"""What one request asks of the room there is: rows, until when, for whom, and how urgently."""

from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """How urgent a request is, the greater the more."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


@dataclass(frozen=True)
class Claim:
    """What one request takes up.

    Attributes:
        rows: of the batch.
        deadline: until when at the latest, in the caller's clock; None is never.
        return_best: whether it wants what it has shortly before the deadline; see `Scheduler.due`.
        positions: of its source; 0 where they are not known.
        client: who asks; those that wait share the room by it.
        priority: how urgent it is.
    """

    rows: int
    deadline: float | None
    return_best: bool = False
    positions: int = 0
    client: str = ""
    priority: Priority = Priority.NORMAL
