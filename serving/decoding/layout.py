"""What selection needs of all running searches, laid out in arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.decoding.request import Search
from serving.decoding.step import IntArray


class Layout:
    """The searches in order of joining, with one entry each in every array; a new one is made when one joins or leaves.

    Short lists name the few searches that want more than plain beam search, so that a batch without them pays nothing.
    """

    def __init__(self, searches: list[Search], numbers: IntArray, scores: NDArray[np.float64]) -> None:
        """Lay out searches.

        Args:
            searches: in order of joining.
            numbers: (searches, 6) int64, `Search.numbers` of each.
            scores: (searches, 2) float64, threshold and longest penalty of each.
        """
        self.searches = searches
        self._numbers, self._scores = numbers, scores
        self.source, self.joined, self.min_length, self.max_length, self.places, _ = numbers.T
        self.threshold, self.longest_penalty = scores.T
        self.index: IntArray = np.arange(len(searches))[:, None]
        self.widest: int
        self.candidates: int
        self.last_minimum: int  # the turn before which somebody may be too short to end
        self.first_limit: int  # the turn from which on somebody may be as long as it gets
        if searches:
            self.widest, self.candidates = numbers[:, 4:].max(axis=0).tolist()
            self.narrowest = int(self.places.min())
            ends = self.joined[:, None] + numbers[:, 2:4]
            self.last_minimum, _ = ends.max(axis=0).tolist()
            _, self.first_limit = ends.min(axis=0).tolist()
            self.oldest = searches[0].joined
        else:
            self.widest = self.candidates = self.narrowest = 1
            self.last_minimum = self.first_limit = self.oldest = 0
        self.in_beam: NDArray[np.bool_] = np.arange(self.widest) < self.places[:, None]
        unusual = [(i, search) for i, search in enumerate(searches) if search.unusual]
        self.constrained = [i for i, search in unusual if search.constraint is not None or search.phrases is not None]
        self.attentive = [i for i, search in unusual if search.attentive]
        self.penalised = [i for i, search in unusual if search.options.repetition_penalty != 1]
        self.patient = [i for i, search in unusual if search.options.patience is not None]
        self.forced = [i for i, search in unusual if search.forced]
        self.asking = [i for i, search in unusual if search.phrases is not None]
        self.apart = [i for i, search in unusual if search.chooser is not None]
        self.forking = [i for i, search in unusual if search.options.alternatives]

    @classmethod
    def empty(cls) -> "Layout":
        """Return one of no searches."""
        return cls([], np.zeros((0, 6), np.int64), np.zeros((0, 2)))

    def with_more(self, searches: Sequence[Search]) -> "Layout":
        """Return one with further searches behind the others."""
        if not searches:
            return self
        numbers = np.array([search.numbers for search in searches], np.int64)
        scores = np.array([(search.threshold, search.longest_penalty) for search in searches])
        return Layout(
            [*self.searches, *searches],
            np.concatenate((self._numbers, numbers)),
            np.concatenate((self._scores, scores)),
        )

    def only(self, keep: NDArray[np.bool_]) -> "Layout":
        """Return one of the searches that are kept, (searches,) bool."""
        kept = [search for search, stays in zip(self.searches, keep.tolist(), strict=True) if stays]
        return Layout(kept, self._numbers[keep], self._scores[keep])
