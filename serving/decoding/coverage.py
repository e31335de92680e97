"""How much of a source the rows of one request have looked at."""

import numpy as np
from numpy.typing import NDArray

from serving.decoding.step import FloatArray, IntArray

LEAST_ATTENTION = 1e-6
"""A position that got less counts as this much, so that one source word nobody looked at does not make a score infinite."""


class Coverage:
    """Attention summed over the steps, for every row of one request; gathered by parent at each step as states are."""

    def __init__(self, source_length: int) -> None:
        self._sums: NDArray[np.float64] = np.zeros((1, source_length))
        self._before = self._sums  # without the last step
        self._steps = 0

    def copy(self) -> "Coverage":
        """Return one that goes on apart."""
        other = Coverage(0)
        other._sums, other._before, other._steps = self._sums, self._before, self._steps
        return other

    def add(self, attention: FloatArray, parent: IntArray) -> None:
        """Add one step.

        Args:
            attention: (rows, S) of this request's rows, S at least its own source's length.
            parent: (rows,) int64, the row of the step before, counted within this request, that each continues.
        """
        self._before = self._sums[parent]
        self._sums = self._before + attention[:, : self._sums.shape[1]]
        self._steps += 1

    def penalty(self, row: int, beta: float, token_count: int) -> float:
        """Return what is added to the score of a hypothesis: 0, or less the more it has missed.

        cp(X; Y) = beta * sum_i log(min(sum_j p_ij, 1)), Wu et al. 2016, eq. 14 (arXiv:1609.08144), over the request's own
        source positions i and the hypothesis' tokens j, `eos` included.

        Args:
            row: which it was at the last step.
            beta: how much it counts.
            token_count: how many tokens it has: one a step, or one less where it is cut without the last step's.
        """
        sums = self._sums if token_count == self._steps else self._before
        return beta * float(np.log(np.clip(sums[row], LEAST_ATTENTION, 1.0)).sum())
