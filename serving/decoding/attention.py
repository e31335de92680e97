"""What one request's rows looked at, kept as it came and read backwards for the few hypotheses that are returned."""

import numpy as np

from serving.decoding.step import FloatArray, IntArray


class AttentionTrail:
    """Attention by step and row, with each row's parent.

    Attention is wide, so it is not gathered by parent at every step as tokens are: a trail of back-pointers costs a turn
    two appends, and is followed once, when the request is answered.
    """

    def __init__(self, source_length: int) -> None:
        self._source_length = source_length
        self._attention: list[FloatArray] = []
        self._parent: list[IntArray] = []

    def copy(self) -> "AttentionTrail":
        """Return one that goes on apart."""
        other = AttentionTrail(self._source_length)
        other._attention, other._parent = self._attention.copy(), self._parent.copy()
        return other

    def record(self, attention: FloatArray, parent: IntArray) -> None:
        """Add one step.

        Args:
            attention: (rows, S) of this request's rows; cut to its own source here, so that other requests' lengths leave no trace.
            parent: (rows,) int64, the row of the step before, counted within this request, that each row continues; read from the
                second step on.
        """
        self._attention.append(attention[:, : self._source_length].copy())
        self._parent.append(parent)

    def read(self, step: int, row: int) -> FloatArray:
        """Return (step + 1, S): what led to the token that `row` chose at `step`, the first step first."""
        weights = np.empty((step + 1, self._source_length), np.float32)
        for at in range(step, -1, -1):
            weights[at] = self._attention[at][row]
            row = int(self._parent[at][row])
        return weights
