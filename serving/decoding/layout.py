"""What selection needs of all running searches, laid out in arrays."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from serving.decoding.constraints import Joinable, Joint
from serving.decoding.request import Search
from serving.decoding.step import IntArray


class Layout:
    """The searches in order of joining, with one entry each in every array; a new one is made when one joins or leaves.

    Short lists name the few searches that want more than plain beam search, so that a batch without them pays nothing.

    Attributes:
        searches: themselves.
        source: (searches,) int64, the memory that the rows of each read.
        joined: (searches,) int64, the turn of each one's first step.
        places: how many places each has in its beam; `widest` is the most of them, `narrowest` the fewest.
        candidates: the most that a plain one needs.
        may_end: the turn from which on each may take `eos`; `last_minimum` is the last of them.
        limit: the turn in which each can only end; `first_limit` is the first of them.
        oldest: the first turn of the one that joined first.
        threshold: (searches,) float64, what a finished score must exceed.
        longest_penalty: (searches,) float64, what the longest answer of each is divided by.
    """

    widest: int
    narrowest: int
    candidates: int
    last_minimum: int
    first_limit: int
    oldest: int

    def __init__(self, searches: list[Search], numbers: IntArray, scores: NDArray[np.float64]) -> None:
        """Lay out searches.

        Args:
            searches: in order of joining.
            numbers: (searches, 6) int64, `Search.numbers` of each.
            scores: (searches, 2) float64, threshold and longest penalty of each.
        """
        self.searches = searches
        self._numbers, self._scores = numbers, scores
        self.source, self.joined, self.places, _, self.may_end, self.limit = numbers.T
        self.threshold, self.longest_penalty = scores.T
        if searches:
            _, _, self.widest, self.candidates, self.last_minimum, _ = numbers.max(axis=0).tolist()
            _, self.oldest, self.narrowest, _, _, self.first_limit = numbers.min(axis=0).tolist()
        else:
            self.widest = self.candidates = self.narrowest = 1
            self.last_minimum = self.first_limit = self.oldest = 0
        unusual = [(i, search) for i, search in enumerate(searches) if search.unusual]
        self.constrained = [i for i, search in unusual if search.has_own_bans]
        self._joinable = [(i, search.joinable) for i, search in unusual if search.joinable is not None]
        self.attentive = [i for i, search in unusual if search.attentive]
        self.covered = [i for i, search in unusual if search.coverage is not None]
        self.penalised = [i for i, search in unusual if search.options.repetition_penalty != 1]
        self.forced = [i for i, search in unusual if search.forced]
        self.asking = [i for i, search in unusual if search.phrases is not None]
        self.apart = [i for i, search in unusual if search.chooser is not None]
        self.forking = [i for i, search in unusual if search.options.alternatives]

    @cached_property
    def in_beam(self) -> NDArray[np.bool_]:
        """Say which places of the grid belong to a search, (searches, widest); the narrower ones do not use all."""
        in_beam: NDArray[np.bool_] = np.arange(self.widest) < self.places[:, None]
        return in_beam

    @cached_property
    def every_place(self) -> IntArray:
        """Return all places of the grid: those of the rows where every beam is full."""
        return np.arange(len(self.searches) * self.widest)

    @cached_property
    def source_of_place(self) -> IntArray:
        """Return the source that a row in each place reads."""
        source: IntArray = self.source.repeat(self.widest)
        return source

    @cached_property
    def joint(self) -> list[tuple[Joint, IntArray]]:
        """Return the constraints that are asked together, each with the number in it of every search, (searches,), or -1."""
        classes: dict[type[Joinable], list[tuple[int, Joinable]]] = {}
        for index, constraint in self._joinable:
            classes.setdefault(type(constraint), []).append((index, constraint))
        joint = []
        for kind, members in classes.items():
            number = np.full(len(self.searches), -1)
            number[[index for index, _ in members]] = np.arange(len(members))
            joint.append((kind.joint([constraint for _, constraint in members]), number))
        return joint

    def offset(self, candidates: int) -> IntArray:
        """Return where the candidates of each search begin in the grid, counted through; (searches, 1)."""
        return np.arange(len(self.searches))[:, None] * (self.widest * candidates)

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
