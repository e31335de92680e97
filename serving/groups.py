"""The running batches of one model: requests whose sources are of like length together, and who takes the next turn.

In one batch all memory is as wide as the longest source, and attention costs every row that width: among sources ten times as
long, a short request pays for theirs. So long ones get a batch of their own as soon as there are enough rows for a graph run of
their own to pay. Batches share the turns by cost: one whose steps are cheap takes several while a dear one takes one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from serving.running import RunningBatch

SHORT: Final = 64
"""Sources of up to so many positions are of like length: padding them costs less than a graph run."""
STRIDE: Final = 4
"""Beyond that, sources are of like length that differ by at most this factor."""
FEW_ROWS: Final = 32
"""A batch of up to so many rows takes anybody in: a second graph run would cost more than padding does."""
SHARE: Final = 0.1
"""Further turns of a cheap batch may take this share of a dear one's time."""
WEIGHT: Final = 0.2
"""How much one more measurement counts in the running mean of a batch's cost."""


def length_class(source_length: int) -> int:
    """Return which sources this one is like: 0 up to `SHORT` positions, 1 up to `STRIDE` times as many, and so on."""
    number, bound = 0, SHORT
    while source_length > bound:
        number, bound = number + 1, bound * STRIDE
    return number


@dataclass(eq=False)
class Group:
    """One running batch.

    Attributes:
        batch: the requests in it.
        length_class: whom it was opened for.
        cost_s: mean time of its step; 0 before the first.
        spent: turns taken, cheap ones counting less.
        last_turn: when it began its last one, on the engine's clock.
    """

    batch: RunningBatch
    length_class: int
    cost_s: float = 0.0
    spent: float = 0.0
    last_turn: float | None = None


class Groups:
    """All running batches of one model, none of them empty between two turns."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._of_request: dict[int, Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def row_count(self) -> int:
        """Return the rows of all batches."""
        return sum(group.batch.row_count for group in self._groups)

    def home(self, source_length: int, open_batch: Callable[[], RunningBatch]) -> Group:
        """Return the batch for a source of this length; opens one where there is none."""
        wanted = length_class(source_length)
        alike = next((group for group in self._groups if group.length_class == wanted), None)
        small = next((group for group in self._groups if group.batch.row_count <= FEW_ROWS), None)
        group = alike or small
        if group is None:
            group = Group(open_batch(), wanted, spent=min((other.spent for other in self._groups), default=0.0))
            self._groups.append(group)
        return group

    def joined(self, request: int, group: Group) -> None:
        """Note where a request is."""
        self._of_request[request] = group

    def of(self, request: int) -> RunningBatch | None:
        """Return the batch that a request is in, if it is in one."""
        group = self._of_request.get(request)
        return None if group is None else group.batch

    def left(self, request: int) -> None:
        """Note that a request is in no batch any more; an empty batch is let go, and its memory with it."""
        group = self._of_request.pop(request, None)
        if group is not None and group in self._groups and not group.batch.request_count:
            self._groups.remove(group)

    def clear(self) -> None:
        """Let go of everything."""
        self._groups.clear()
        self._of_request.clear()

    def next(self) -> Group:
        """Return the batch whose turn it is."""
        return self._groups[0] if len(self._groups) == 1 else min(self._groups, key=lambda group: group.spent)

    def stepped(self, group: Group, seconds: float) -> None:
        """Charge a batch for its step: a whole turn, or less where it is cheap beside the dearest."""
        group.cost_s = seconds if not group.cost_s else group.cost_s + WEIGHT * (seconds - group.cost_s)
        dearest = max(other.cost_s for other in self._groups)
        group.spent += min(1.0, group.cost_s / (SHARE * dearest)) if dearest else 1.0
