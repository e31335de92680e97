"""Which tokens a hypothesis may not take next, so that only well-formed answers can come out.

A constraint is a pure function of the tokens so far: it carries nothing from step to step, so reordering, repeating and dropping
hypotheses cannot upset it. Points are tokens `first_position + i`; `pad`, `bos` and padded positions never need banning, since
every model gives them log-prob -inf (docs/architecture.md, "Token ids").
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from serving.decoding.options import SpecialTokens
from serving.decoding.step import IntArray


class Constraint(Protocol):
    """Bans tokens given those before them, for all live hypotheses of one request at once."""

    def banned(self, tokens: IntArray) -> IntArray:
        """Return what may not come next.

        Args:
            tokens: (rows, t) int64, all that each live hypothesis has chosen so far; every hypothesis of a request has the same
                length t, from 0. Must not be written to.

        Returns:
            (rows, M) int64, filled up with `pad`; M may be 0 and may differ from call to call.
        """


class Chosen(NamedTuple):
    """What the live hypotheses of several requests have chosen so far; they need not have joined in the same step.

    Attributes:
        tokens: (rows, T) int64, T from 0; a row's own are its last ones, the newest at the right end. Must not be written to.
        length: (rows,) int64, how many are its own, from 0 to T; what stands before them means nothing.
        owner: (rows,) int64, which of the requests each row belongs to, counted from 0.
    """

    tokens: IntArray
    length: IntArray
    owner: IntArray


class Joint(Protocol):
    """The constraints of several requests, asked together."""

    def banned(self, chosen: Chosen) -> IntArray:
        """Return what may not come next, (rows, M) int64, filled up with `pad`: of each row what its request's own would say."""


class Joinable(ABC):
    """A constraint that is asked together with all others of its class in a batch: once a step, and not once a request."""

    @abstractmethod
    def banned(self, tokens: IntArray) -> IntArray:
        """See `Constraint`."""

    @classmethod
    @abstractmethod
    def joint(cls, constraints: Sequence[Self]) -> Joint:
        """Return the constraints of several requests as one."""


@dataclass(frozen=True)
class TourConstraint:
    """A tour visits each of P points once, then ends: at every step what was visited is banned, and `eos` until all are."""

    point_count: int
    special: SpecialTokens

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban the visited points, and `eos` before the last; after it `eos` is all that is left."""
        return _with_eos(tokens, self.special) if tokens.shape[1] < self.point_count else tokens


@dataclass(frozen=True)
class HullConstraint:
    """A hull has at least three corners and none of them twice.

    Attributes:
        special: the special ids.
        repeats: tokens of points equal to an earlier one: the same corner under another name, never taken.
    """

    special: SpecialTokens
    repeats: tuple[int, ...] = ()

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban the corners already taken, points that repeat others, and `eos` before the third corner."""
        never = np.tile(np.array(self.repeats, np.int64), (len(tokens), 1))
        taken = np.concatenate((tokens, never), axis=1) if self.repeats else tokens
        return _with_eos(taken, self.special) if tokens.shape[1] < 3 else taken


@dataclass(frozen=True)
class TriangulationConstraint:
    """A triangulation is whole triangles of three distinct points, at least one, none twice and not more than planarity allows.

    P points have at most 2P - 5 triangles (Euler's formula, the hull being a triangle); after so many only `eos` is left. Before
    that a first corner can always be completed: fewer than 2P - 5 triangles never use up all (P-1)(P-2)/2 of one corner. A second
    corner can be used up, by the P - 2 triangles of its edge with the first, and is banned then.
    """

    point_count: int
    first_position: int
    special: SpecialTokens

    def __post_init__(self) -> None:
        assert self.point_count >= 3

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban what cannot be the next corner, and `eos` inside a triangle and before the first one."""
        rows, length = tokens.shape
        triangles = tokens[:, : length - length % 3].reshape(rows, -1, 3)  # (rows, triangles, 3)
        if length % 3 == 0:
            return self._before_triangle(rows, triangles.shape[1])
        first = tokens[:, -(length % 3)]
        if length % 3 == 1:
            banned = (tokens[:, -1:], self._used_up(triangles, first))
        else:
            banned = (tokens[:, -2:], self._third_corners(triangles, first, tokens[:, -1]))
        return _with_eos(np.concatenate(banned, axis=1), self.special)

    def _before_triangle(self, rows: int, triangle_count: int) -> IntArray:
        """Ban `eos` before the first triangle, and every point after the last one that fits."""
        if triangle_count == 0:
            return np.full((rows, 1), self.special.eos)
        if triangle_count < 2 * self.point_count - 5:
            return np.empty((rows, 0), np.int64)
        return np.tile(np.arange(self.first_position, self.first_position + self.point_count), (rows, 1))

    def _used_up(self, triangles: IntArray, first: IntArray) -> IntArray:
        """Ban second corners whose edge with the first already has a triangle with every other point; (rows, P)."""
        if triangles.shape[1] < self.point_count - 2:  # too few to use up any edge
            return np.empty((len(first), 0), np.int64)
        rows, points = len(first), self.point_count
        corners = triangles - self.first_position + np.arange(rows)[:, None, None] * points  # row * P + point
        beside_first = np.bincount(corners[_having(triangles, first)].ravel(), minlength=rows * points)
        used_up = beside_first.reshape(rows, points) >= points - 2
        return np.where(used_up, np.arange(self.first_position, self.first_position + points), self.special.pad)

    def _third_corners(self, triangles: IntArray, first: IntArray, second: IntArray) -> IntArray:
        """Ban the third corners of the triangles that the edge already has; (rows, 3 * triangles)."""
        with_both = _having(triangles, first) & _having(triangles, second)
        used = np.where(with_both[..., None], triangles, self.special.pad)
        return used.reshape(len(triangles), -1)


def _having(triangles: IntArray, corner: IntArray) -> NDArray[np.bool_]:
    """Say which triangles (rows, m, 3) have the corner of their row (rows,); (rows, m)."""
    has: NDArray[np.bool_] = (triangles == corner[:, None, None]).any(axis=2)
    return has


def _with_eos(tokens: IntArray, special: SpecialTokens) -> IntArray:
    """Return `tokens` (rows, t) with a column of `eos` appended: (rows, t + 1)."""
    banned = np.full((len(tokens), tokens.shape[1] + 1), special.eos)
    banned[:, :-1] = tokens
    return banned
