"""What the rows looked at, kept as it came and read backwards for the few hypotheses that are returned."""

import numpy as np

from serving.decoding.step import FloatArray, IntArray


class AttentionTrail:
    """The attention of whole steps, turn by turn, with each row's parent.

    Attention is wide, so it is not gathered by parent at every step as tokens are: a trail of back-pointers costs a turn two
    appends for all requests together, and is followed once for each hypothesis that is answered.
    """

    def __init__(self) -> None:
        self._first_turn = 0
        self._attention: list[FloatArray] = []
        self._parent: list[IntArray] = []

    def record(self, turn: int, attention: FloatArray, parent: IntArray, oldest: int) -> None:
        """Add one step.

        Args:
            turn: its number; after a pause in which nobody wanted attention nothing before it is needed.
            attention: (R, S) of all rows.
            parent: (R,) int64, the row of the step before that each row continues.
            oldest: the first turn that anybody still wants.
        """
        if turn != self._first_turn + len(self._attention):
            self._first_turn = turn
            self._attention, self._parent = [], []
        old = max(0, oldest - self._first_turn)
        if old:
            del self._attention[:old], self._parent[:old]
            self._first_turn += old
        self._attention.append(attention)
        self._parent.append(parent)

    def read(self, since: int, turn: int, row: int, source_length: int) -> FloatArray:
        """Return (turns, S) of one hypothesis, from turn `since` to `turn`, in which it was row `row`.

        It is cut to its own source of `source_length` positions, so that other requests' lengths leave no trace.
        """
        weights = np.empty((turn + 1 - since, source_length), np.float32)
        for at in range(turn, since - 1, -1):
            weights[at - since] = self._attention[at - self._first_turn][row, :source_length]
            row = int(self._parent[at - self._first_turn][row])
        return weights
