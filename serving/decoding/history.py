"""What every row has chosen so far: tokens and their log-probs, one column a turn."""

from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.decoding.step import FloatArray, IntArray

SPARE_COLUMNS: Final = 16
"""Columns made at a time, beside as many as are in use: making room is rare, and gathering unused columns is cheap."""
MOST_UNSETTLED: Final = 16
"""Turns that are kept as they came; following them back takes as long as they are many."""


Number = TypeVar("Number", bound=np.generic)


class _Turn(NamedTuple):
    """What each of R rows chose in one turn, and the row of the turn before that it continues; (R,) each."""

    row: IntArray
    token: IntArray
    log_prob: FloatArray


class History:
    """Rows on axis 0, turns on axis 1; a row of a request that joined at turn j reads its columns from j on.

    Rows are reordered by parent at every turn, as the model's states are. The last turns are kept as they came, with their parents,
    and settled into the columns all at once when somebody wants to see columns, or after some turns: following parents back is
    cheaper than moving all columns at every turn, and most searches want to know no more than how a hypothesis that ends began.
    """

    def __init__(self) -> None:
        self.turn = 0
        """How many turns were written since the batch began."""
        self._rows = 0
        self._oldest = 0  # the first turn that anybody still needs
        self._unsettled: list[_Turn] = []
        # The columns, from turn `_first_turn` on, of the rows that there were before the unsettled turns.
        self._first_turn = 0
        self._tokens: IntArray = np.zeros((0, SPARE_COLUMNS), np.int64)
        self._log_probs: FloatArray = np.zeros((0, SPARE_COLUMNS), np.float32)

    def add_rows(self, count: int) -> None:
        """Append rows that have chosen nothing yet."""
        self._rows += count

    def keep_rows(self, rows: IntArray) -> None:
        """Reorder, repeat or drop rows, between two turns."""
        self._settle()
        self._tokens, self._log_probs = self._tokens.take(rows, axis=0), self._log_probs.take(rows, axis=0)
        self._rows = len(rows)

    def advance(self, row: IntArray, token: IntArray, log_prob: FloatArray, oldest: int) -> None:
        """Write one turn; columns before turn `oldest` are no longer needed.

        Args:
            row: (R,) int64, the row that each of the R rows continues.
            token: (R,) int64, what it chose.
            log_prob: (R,) float32, of that.
            oldest: the first turn of those that go on.
        """
        self.turn += 1
        self._rows, self._oldest = len(row), oldest
        self._unsettled.append(_Turn(row, token, log_prob))
        if not self._rows:  # whoever comes next begins anew
            self._unsettled, self._first_turn = [], self.turn
            self._tokens, self._log_probs = self._tokens[:0], self._log_probs[:0]
        elif len(self._unsettled) == MOST_UNSETTLED:
            self._settle()

    def tokens(self, rows: slice, since: int) -> IntArray:
        """Return (rows, t) tokens chosen from turn `since` on, without a copy."""
        self._settle()
        return self._tokens[rows, since - self._first_turn : self.turn - self._first_turn]

    def every(self) -> IntArray:
        """Return (R, T) tokens of all rows, T as many as the oldest needs or more, without a copy."""
        self._settle()
        return self._tokens[:, : self.turn - self._first_turn]

    def of_row(self, row: int, since: int) -> tuple[list[int], list[float]]:
        """Return one row's tokens and log-probs from turn `since` on."""
        tokens: list[int] = []
        log_probs: list[float] = []
        settled = self.turn - len(self._unsettled)
        for turn in reversed(self._unsettled[max(0, since - settled) :]):
            tokens.append(int(turn.token[row]))
            log_probs.append(float(turn.log_prob[row]))
            row = int(turn.row[row])
        tokens.reverse()
        log_probs.reverse()
        if since >= settled:
            return tokens, log_probs
        columns = slice(since - self._first_turn, settled - self._first_turn)
        return self._tokens[row, columns].tolist() + tokens, self._log_probs[row, columns].tolist() + log_probs

    def _settle(self) -> None:
        """Bring the columns up to date with all turns and rows."""
        turns, self._unsettled = self._unsettled, []
        if not turns and len(self._tokens) == self._rows:
            return
        at = np.arange(self._rows)
        newest_first = []
        for turn in reversed(turns):
            at = np.minimum(at, len(turn.row) - 1)  # rows that came later chose nothing here, and nobody will look
            newest_first.append((turn.token.take(at), turn.log_prob.take(at)))
            at = turn.row.take(at)
        settled = self.turn - len(turns)
        self._tokens, self._log_probs = self._rows_of(self._tokens, at), self._rows_of(self._log_probs, at)
        if self.turn - self._first_turn > self._tokens.shape[1]:
            self._make_room(settled)
        for column, (token, log_prob) in enumerate(reversed(newest_first), settled - self._first_turn):
            self._tokens[:, column] = token
            self._log_probs[:, column] = log_prob

    @staticmethod
    def _rows_of(columns: NDArray[Number], at: IntArray) -> NDArray[Number]:
        """Return these rows of the columns, and anything for rows that came later."""
        if not len(columns):
            return np.zeros((len(at), columns.shape[1]), columns.dtype)
        return columns.take(np.minimum(at, len(columns) - 1), axis=0)

    def _make_room(self, settled: int) -> None:
        """Drop the columns that nobody needs, then add unused ones on the right; those up to turn `settled` are in use."""
        first = min(self._oldest, settled)
        kept = slice(first - self._first_turn, settled - self._first_turn)
        shape = len(self._tokens), 2 * (self.turn - first) + SPARE_COLUMNS
        tokens, log_probs = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        tokens[:, : settled - first] = self._tokens[:, kept]
        log_probs[:, : settled - first] = self._log_probs[:, kept]
        self._tokens, self._log_probs, self._first_turn = tokens, log_probs, first
