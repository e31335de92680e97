"""The live hypotheses of all running searches, one a row."""

import numpy as np
from numpy.typing import NDArray

from serving.decoding.attention import AttentionTrail
from serving.decoding.history import History
from serving.decoding.step import FloatArray, IntArray


class Rows:
    """What each row is; rows stand by search, then by rank in its beam.

    Attributes:
        place: (R,) int64, its place in the grid of all beams, search * widest + rank, ascending.
        token: (R,) int64, what it chose last.
        parent: (R,) int64, the incoming row of the state that it continues.
        log_prob: (R,) float64, accumulated, with the penalties for repetition.
        history: all that it has chosen.
        trail: what it looked at, where somebody wants to know.
    """

    def __init__(self) -> None:
        self.place: IntArray = np.zeros(0, np.int64)
        self.token: IntArray = np.zeros(0, np.int64)
        self.parent: IntArray = np.zeros(0, np.int64)
        self.log_prob: NDArray[np.float64] = np.zeros(0)
        self.history = History()
        self.trail = AttentionTrail()

    def __len__(self) -> int:
        return len(self.token)

    def of(self, index: int, widest: int) -> slice:
        """Return the rows of one search, `widest` being the places of each in the grid."""
        start, stop = self.place.searchsorted((index * widest, (index + 1) * widest)).tolist()
        return slice(start, stop)

    def add(self, place: IntArray, parent: IntArray, token: int) -> None:
        """Append rows that have chosen nothing yet; `token` is what they read first."""
        count = len(place)
        self.place = np.concatenate((self.place, place))
        self.parent = np.concatenate((self.parent, parent))
        self.token = np.concatenate((self.token, np.full(count, token)))
        self.log_prob = np.concatenate((self.log_prob, np.zeros(count)))
        self.history.add_rows(count)

    def keep(self, rows: IntArray) -> None:
        """Drop the other rows, between two steps."""
        self.history.keep_rows(rows)
        self.place, self.parent = self.place[rows], self.parent[rows]
        self.token, self.log_prob = self.token[rows], self.log_prob[rows]

    def advance(
        self,
        *,
        place: IntArray,
        row: IntArray,
        token: IntArray,
        total: NDArray[np.float64],
        log_prob: FloatArray,
        oldest: int,
    ) -> None:
        """Let continuations be the rows of the next step; all (R',).

        Args:
            place: where each stands in the grid.
            row: the row it continues.
            token: what it chose.
            total: what it has accumulated with it.
            log_prob: of the token, the model's own.
            oldest: the turn from which on somebody needs the history.
        """
        self.history.advance(row, token, log_prob, oldest)
        self.place, self.parent, self.token, self.log_prob = place, row, token, total
