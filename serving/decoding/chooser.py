"""How a request that wants no plain beam search chooses among the continuations of its rows."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.decoding.step import FloatArray, IntArray


class Offer(NamedTuple):
    """What one step offers the rows of one request, or of a whole batch.

    Attributes:
        log_prob: (rows, k) float32, the model's; best first.
        candidate: (rows, k) int64.
        adjusted: (rows, k) float32, `log_prob` with the repetition penalty; what is searched by.
        total: (rows, k) float64, `adjusted` added to what each row has accumulated.
    """

    log_prob: FloatArray
    candidate: IntArray
    adjusted: FloatArray
    total: NDArray[np.float64]


class Chosen(NamedTuple):
    """Continuations, in the order of the places they take: the row each continues, and which of its candidates it takes."""

    row: IntArray
    choice: IntArray


class Chooser(Protocol):
    """Chooses for one request, whose rows are counted from 0."""

    def choose(self, step: int, offer: Offer) -> Chosen:
        """Return at most as many continuations as the request has places; those with a total of -inf lead nowhere.

        Args:
            step: of the request, from 0.
            offer: cut to the candidates that the request itself asked for, whatever its neighbours did.
        """

    def keep(self, places: IntArray) -> None:
        """Note which of the chosen continuations are the rows of the next step, in this order; the others have ended."""
