"""What every row has chosen so far: tokens and their log-probs, one column a turn."""

import numpy as np

from serving.decoding.step import FloatArray, IntArray

SPARE_COLUMNS = 16
"""Columns made at a time, beside as many as are in use: making room is rare, and gathering unused columns is cheap."""


class History:
    """Rows on axis 0, turns on axis 1; a row of a request that joined at turn j reads its columns from j on.

    Writing one column for all rows is a plain slice, whatever their lengths; each turn reorders the rows by the same gather by
    parent as the model's states.
    """

    def __init__(self) -> None:
        self.turn = 0
        """How many turns were written since the batch began."""
        self._first_turn = 0  # the turn that column 0 holds
        self._tokens: IntArray = np.zeros((0, SPARE_COLUMNS), np.int64)
        self._log_probs: FloatArray = np.zeros((0, SPARE_COLUMNS), np.float32)

    def add_rows(self, count: int) -> None:
        """Append rows that have chosen nothing yet."""
        width = self._tokens.shape[1]
        self._tokens = np.concatenate((self._tokens, np.zeros((count, width), np.int64)))
        self._log_probs = np.concatenate((self._log_probs, np.zeros((count, width), np.float32)))

    def keep_rows(self, rows: IntArray) -> None:
        """Reorder, repeat or drop rows."""
        self._tokens = self._tokens.take(rows, axis=0)
        self._log_probs = self._log_probs.take(rows, axis=0)

    def append(self, token: IntArray, log_prob: FloatArray, oldest: int) -> None:
        """Write one turn: what each of R rows chose; columns before turn `oldest` are no longer needed."""
        if self.turn - self._first_turn == self._tokens.shape[1]:
            self._make_room(oldest)
        column = self.turn - self._first_turn
        self._tokens[:, column] = token
        self._log_probs[:, column] = log_prob
        self.turn += 1

    def tokens(self, rows: slice, since: int) -> IntArray:
        """Return (rows, t) tokens chosen from turn `since` on, without a copy."""
        return self._tokens[rows, since - self._first_turn : self.turn - self._first_turn]

    def every(self) -> IntArray:
        """Return (R, T) tokens of all rows, T as many as the oldest needs or more, without a copy."""
        return self._tokens[:, : self.turn - self._first_turn]

    def of_row(self, row: int, since: int) -> tuple[list[int], list[float]]:
        """Return one row's tokens and log-probs from turn `since` on."""
        columns = slice(since - self._first_turn, self.turn - self._first_turn)
        return self._tokens[row, columns].tolist(), self._log_probs[row, columns].tolist()

    def _make_room(self, oldest: int) -> None:
        """Drop the columns before `oldest`, then add unused ones on the right."""
        used = self.turn - oldest
        old, kept = self._tokens, slice(oldest - self._first_turn, self.turn - self._first_turn)
        self._tokens = np.zeros((len(old), 2 * used + SPARE_COLUMNS), np.int64)
        self._tokens[:, :used] = old[:, kept]
        scores = np.zeros(self._tokens.shape, np.float32)
        scores[:, :used] = self._log_probs[:, kept]
        self._log_probs = scores
        self._first_turn = oldest
