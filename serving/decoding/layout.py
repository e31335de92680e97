"""What selection needs of all running searches, laid out in arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.decoding.request import Search
from serving.decoding.step import IntArray


class Layout:
    """The searches in order, with one entry each in every array; made anew when one joins or leaves.

    Lists of indices name the few searches that want more than plain beam search, so that a batch without them pays nothing.
    """

    def __init__(self, searches: Sequence[Search], turn: int) -> None:
        """Lay out searches, which stand in order of joining; `turn` is the number of the next turn."""
        options = [search.options for search in searches]
        self.searches = list(searches)
        self.widest = max((search.places for search in searches), default=1)
        self.candidates = max((search.candidates for search in searches), default=1)
        places = np.array([search.places for search in searches], np.int64)
        self.in_beam: NDArray[np.bool_] = np.arange(self.widest) < places[:, None]
        self.index: IntArray = np.arange(len(searches))[:, None]
        self.source: IntArray = np.array([search.source for search in searches], np.int64)
        self.joined: IntArray = np.array([search.joined for search in searches], np.int64)
        self.oldest = searches[0].joined if searches else turn
        self.min_length: IntArray = np.array([option.min_length for option in options], np.int64)
        self.last_minimum = max((search.joined + search.options.min_length for search in searches), default=0)
        self.max_length: IntArray = np.array([option.max_length for option in options], np.int64)
        self.threshold: NDArray[np.float64] = np.array([search.threshold for search in searches], np.float64)
        self.longest_penalty: NDArray[np.float64] = np.array(
            [search.longest_penalty for search in searches], np.float64
        )
        numbered = list(enumerate(searches))
        self.constrained = [i for i, search in numbered if search.constraint is not None or search.phrases is not None]
        self.attentive = [i for i, search in numbered if search.attentive]
        self.penalised = [i for i, search in numbered if search.options.repetition_penalty != 1]
        self.patient = [i for i, search in numbered if search.options.patience is not None]
        self.forced = [i for i, search in numbered if search.forced]
        self.asking = [i for i, search in numbered if search.phrases is not None]
        self.apart = [i for i, search in numbered if search.chooser is not None]
        self.forking = [i for i, search in numbered if search.options.alternatives]
