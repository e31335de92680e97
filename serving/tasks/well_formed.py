"""What an answer's next point may be, so that hulls come out convex and triangulations whole. Signs are exact.

Both rules ask what any convex polygon, or any triangulation of the points, must be; neither asks which of them is the right one.
They never lead into a dead end, and never ban the next point of a right answer, whichever corner or triangle it begins with.
Like every constraint they are functions of the tokens so far; what a triangulation has used up is kept by its tokens, to be added
to instead of worked out anew.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from serving.decoding.constraints import Chosen, Joinable
from serving.decoding.options import SpecialTokens
from serving.decoding.step import IntArray
from serving.tasks.geometry import DOUBT, ExactPoints, Points, exactly

MOST_POINTS: Final = 200
"""Most points whose triangles are looked through beforehand, which takes O(P^3): 5 ms for 50, 0.3 s for 200."""
FROM_END: Final = np.array([-2, 0, -1, 1])
OF_LENGTH: Final = np.array([0, 1, 0, 1])
"""Where these corners stand, from the right end, and minus the length so often: the last but one, first, last, second."""
START: Final = np.array([0, 1, 1])
END: Final = np.array([2, 2, 3])
"""The lines between them that a further corner must lie left of."""

Bits = NDArray[np.uint64]
"""(..., W): a set of points, the first 64 in the first word."""


class ConvexRule(Joinable):
    """A hull is a strictly convex polygon, counter-clockwise: from the third corner on, what there is so far always is one.

    Let c0 .. ck be convex. A point v keeps it so just when it lies left of the last edge, so that ck is turned left at; right of
    the closing edge from ck to c0, so that v is; and left of the first edge, so that c0 is. Then the polygon can end at any time.
    Before the third corner there must be a point left of the first edge: only backwards along the hull there is none.

    Attributes:
        exact: the points as they go round counter-clockwise: where a mirrored model sees them, mirrored.
        distinct: (P,) bool, whether no earlier point equals it.
        first_position: the token of point 0.
        special: the special ids.
    """

    def __init__(
        self, points: Points | ExactPoints, first_position: int, special: SpecialTokens, *, mirrored: bool = False
    ) -> None:
        """Prepare for points (P, 2), which a mirrored model sees the other way round."""
        exact = exactly(points)
        self.exact = ExactPoints(exact.points * (-1.0, 1.0)) if mirrored else exact
        self.distinct = exact.first == np.arange(len(exact))
        self.first_position = first_position
        self.special = special

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban what would not leave a convex polygon, and `eos` before the third corner; (rows, P + 1)."""
        rows, length = tokens.shape
        return self._alone.banned(Chosen(tokens, np.full(rows, length), np.zeros(rows, np.int64)))

    @classmethod
    def joint(cls, constraints: Sequence[Self]) -> "ConvexRules":
        """Return the rules of several requests as one."""
        return ConvexRules(constraints)

    @cached_property
    def _alone(self) -> "ConvexRules":
        return ConvexRules([self])

    def prepare(self) -> None:
        """Find the hull, which else the second step does."""
        assert self.backwards

    @cached_property
    def backwards(self) -> dict[int, list[int]]:
        """Return the points that follow each on the hull, clockwise along one side of it."""
        around = self.exact.boundary
        behind: dict[int, list[int]] = {}
        for place, point in enumerate(around):
            line = [around[place - 1]]
            while len(line) < len(around) - 1 and self.exact.turn(point, line[0], around[place - len(line) - 1]) == 0:
                line.append(around[place - len(line) - 1])
            behind[point] = line
        return behind


class ConvexRules:
    """The convex rules of several requests: one look at all of their points for all of their rows."""

    def __init__(self, rules: Sequence[ConvexRule]) -> None:
        """Lay out the points of N requests side by side, as wide as the most of them, P."""
        self._rules = rules
        self._special = rules[0].special
        self._first_position = rules[0].first_position
        counts = np.array([len(rule.distinct) for rule in rules])
        place = np.arange(counts.max())
        real = place < counts[:, None]
        padded = np.minimum(place, counts[:, None] - 1)  # the last point again and again
        at = (counts.cumsum() - counts)[:, None] + padded
        self._place = np.concatenate([rule.exact.scaled for rule in rules]).T.take(at, axis=1)  # (2, N, P), x and y
        # Of every point, and behind them of `eos`; (N, P + 1):
        self._tokens = np.full((len(rules), len(place) + 1), self._special.eos)
        self._tokens[:, :-1] = np.where(real, place + self._first_position, self._special.pad)
        self._distinct = np.ones(self._tokens.shape, np.bool_)
        self._distinct[:, :-1] = np.concatenate([rule.distinct for rule in rules]).take(at) & real

    def banned(self, chosen: Chosen) -> IntArray:
        """Ban what would not leave a convex polygon, and `eos` before the third corner; (rows, P + 1)."""
        allowed = self._distinct.take(chosen.owner, axis=0)  # (rows, P + 1)
        allowed[:, -1] = chosen.length > 2
        points = allowed[:, :-1]
        begun = chosen.length > 1
        if np.count_nonzero(begun) == len(begun):
            points &= self._convex(chosen)
        else:
            if np.count_nonzero(begun):
                points[begun] &= self._convex(Chosen(*(part[begun] for part in chosen)))
            for row in np.flatnonzero(chosen.length == 1).tolist():
                corner = int(chosen.tokens[row, -1]) - self._first_position
                points[row, corner] = False
                points[row, self._rules[chosen.owner[row]].backwards.get(corner, ())] = False
        return np.where(allowed, self._special.pad, self._tokens.take(chosen.owner, axis=0))

    def _convex(self, chosen: Chosen) -> NDArray[np.bool_]:
        """Return which points (rows, P) keep the corners of rows convex that have two or more; of padding it says anything."""
        rows, width = chosen.tokens.shape
        row = np.arange(rows)[:, None]
        corners = chosen.tokens[row, width + FROM_END - chosen.length[:, None] * OF_LENGTH] - self._first_position
        place = self._place.take(chosen.owner, axis=1)  # (2, rows, P)
        at_corners = place[:, row, corners]
        start = at_corners[..., START, None]  # (2, rows, 3, 1)
        towards_x, towards_y = at_corners[..., END, None] - start
        (start_x, start_y), (x, y) = start, place[:, :, None]
        turns = towards_x * (y - start_y)  # (rows, 3, P)
        turns -= towards_y * (x - start_x)
        least = np.minimum.reduce(turns, axis=1)  # (rows, P)
        left: NDArray[np.bool_] = least > DOUBT
        doubtful = np.abs(least) <= DOUBT
        doubtful[row, corners] = False  # these are on one of the lines, and so not left of it
        if np.count_nonzero(doubtful):
            self._decide(left, doubtful, chosen.owner, corners)
        return left

    def _decide(self, left: NDArray[np.bool_], doubtful: NDArray[np.bool_], owner: IntArray, corners: IntArray) -> None:
        """Find out of doubtful points (rows, P) whether they are left of all lines between their row's corners (rows, 4)."""
        row, point = np.nonzero(doubtful & self._distinct.take(owner, axis=0)[:, :-1])
        for rule in set(owner[row].tolist()):
            own = np.flatnonzero(owner[row] == rule)
            start, end = corners[row[own][:, None], START], corners[row[own][:, None], END]  # (doubtful, 3)
            turns = self._rules[rule].exact.turns(start, end, point[own, None])
            left[row[own], point[own]] = (turns > 0).all(axis=1)


class _Left(NamedTuple):
    """What the triangles so far leave.

    Attributes:
        outgoing: (P, W), the ends of the directed edges that may still have a triangle on their left, from each point.
        incoming: (P, W), their beginnings, to each point.
        edges: (P, P), the directed edges that a triangle still fits to.
    """

    outgoing: Bits
    incoming: Bits
    edges: NDArray[np.bool_]


class TriangulationRule:
    """A triangulation is triangles without any other point in them, that do not overlap and end when they cover the hull.

    A triangle that has another point inside, or on an edge, is in no triangulation of all points. Two that have none overlap just
    when their edges cross or have them both on one side. So an edge may have one triangle on either side and cross no edge that is
    there. Edges that do not cross can always be completed to a triangulation, so there is always a next triangle, until there are
    as many as Euler's formula says: then comes `eos`. Whether a first or second corner has a third is looked up in sets of
    points, a bit each.

    Nothing here changes when the points are mirrored, so one rule serves all symmetries.
    """

    def __init__(self, points: Points | ExactPoints, first_position: int, special: SpecialTokens) -> None:
        """Prepare for points (P, 2), not all on one line."""
        self._exact = exactly(points)
        self._special = special
        self._first_position = first_position
        self._distinct = self._exact.first == np.arange(len(self._exact))
        self._tokens = np.arange(len(self._exact)) + first_position
        self._all_but = [~np.uint64(1 << bit) for bit in range(64)]
        self._crossing: dict[tuple[int, int], Bits] = {}
        self._left: dict[bytes, _Left] = {}

    def prepare(self) -> None:
        """Look through all triangles, which else the first step does."""
        assert self._empty is not None

    def banned(self, tokens: IntArray) -> IntArray:
        """Ban what no further triangle begins or goes on with, and `eos` before they cover the hull; (rows, P + 1)."""
        corners = tokens - self._first_position
        rows, length = corners.shape
        whole = length - length % 3
        if whole == 3 * self._triangle_count:
            return np.tile(self._tokens, (rows, 1))
        allowed = np.stack([self._next(corners[row, :whole], corners[row, whole:].tolist()) for row in range(rows)])
        banned = np.full((rows, len(self._tokens) + 1), self._special.eos)
        banned[:, :-1] = np.where(allowed, self._special.pad, self._tokens)
        return banned

    def _next(self, whole: IntArray, begun: Sequence[int]) -> NDArray[np.bool_]:
        """Return which points (P,) may come after whole triangles and the first corners of the next one."""
        left = self._left_by(whole)
        allowed: NDArray[np.bool_]
        if not begun:
            allowed = np.logical_or.reduce(left.edges, axis=1)
        elif len(begun) == 1:
            allowed = np.take(left.edges | left.edges.T, begun[0], axis=1)
        else:
            allowed = self._members(self._thirds(left, *begun) | self._thirds(left, *begun[::-1]))
        return allowed

    def _thirds(self, left: _Left, a: int, b: int) -> Bits:
        """Return the corners that are left on the left of the edge from a to b, (W,)."""
        thirds: Bits = self._empty[a, b] & left.outgoing[b] & left.incoming[a]
        return thirds if left.edges[a, b] else np.zeros_like(thirds)

    def _left_by(self, whole: IntArray) -> _Left:
        key = whole.tobytes()
        known = self._left.get(key)
        if known is None:
            if len(whole) == 0:
                everything = np.tile(self._bits(self._distinct), (len(self._tokens), 1))
                known = self._with_edges(everything, everything.copy())
            else:
                before = self._left_by(whole[:-3])
                known = self._after(before, whole[-3:].tolist())
            if len(self._left) > 4096:  # a search needs those of its beam; others are worked out when they are needed
                self._left.clear()
            self._left[key] = known
        return known

    def _after(self, before: _Left, triangle: Sequence[int]) -> _Left:
        """Return what is left after one more triangle: each edge's one side is taken, and what crosses it."""
        a, b, c = triangle
        if self._exact.turn(a, b, c) < 0:
            b, c = c, b
        sides = ((a, b), (b, c), (c, a))
        first, second, third = (self._crossing_of(min(side), max(side)) for side in sides)
        uncrossed = ~(first | second | third)
        outgoing, incoming = before.outgoing & uncrossed, before.incoming & uncrossed
        for start, end in sides:
            outgoing[start, end >> 6] &= self._all_but[end & 63]
            incoming[end, start >> 6] &= self._all_but[start & 63]
        return self._with_edges(outgoing, incoming)

    def _with_edges(self, outgoing: Bits, incoming: Bits) -> _Left:
        third = self._empty & outgoing[None] & incoming[:, None]  # [a, b]: the third corners that are left
        some = third[..., 0] != 0 if third.shape[2] == 1 else third.any(axis=2)
        fits: NDArray[np.bool_] = some & self._members(outgoing)
        return _Left(outgoing, incoming, fits)

    def _crossing_of(self, p: int, q: int) -> Bits:
        """Return the edges that cross the one from p to q: for each point the other ends, (P, W)."""
        known = self._crossing.get((p, q))
        if known is None:
            side = self._side
            # p and q on different sides of the edge from a to b, whichever is left
            parted = (side[p] & side[:, q]) | (side[:, p] & side[q])
            on_left, on_right = self._members(side[p, q]), self._members(side[q, p])
            known = np.zeros_like(parted)
            known[on_left] = parted[on_left] & side[q, p]
            known[on_right] = parted[on_right] & side[p, q]
            self._crossing[p, q] = known
        return known

    @cached_property
    def _triangle_count(self) -> int:
        return 2 * int(self._distinct.sum()) - 2 - len(self._exact.boundary)

    @cached_property
    def _turns(self) -> NDArray[np.int8]:
        """Return the turn of every three points, (P, P, P)."""
        count = len(self._tokens)
        place, signs = np.arange(count), np.zeros((count, count, count), np.int8)
        for a in range(
            count - 2
        ):  # each triangle once, from its lowest index; the others are its rotations and reflections
            rest = place[a + 1 :]
            b, c = (rest[index] for index in np.triu_indices(len(rest), k=1))
            turn = self._exact.turns(np.full_like(b, a), b, c)
            signs[a, b, c] = signs[b, c, a] = signs[c, a, b] = turn
            signs[a, c, b] = signs[c, b, a] = signs[b, a, c] = -turn
        return signs

    @cached_property
    def _side(self) -> Bits:
        """Return for each directed edge the points on its left, (P, P, W)."""
        return self._bits((self._turns > 0) & self._distinct)

    @cached_property
    def _empty(self) -> Bits:
        """Return for each directed edge (a, b) the points that make an empty triangle with it on its left, (P, P, W)."""
        count, place = len(self._tokens), np.arange(len(self._tokens))
        own = (place[:, None] == place) | ~self._distinct
        not_right = self._bits((self._turns >= 0) & ~own[:, None] & ~own[None])  # but for the edge's ends
        empty = np.zeros((count, count, count), np.bool_)
        for a in np.flatnonzero(self._distinct).tolist():
            inside = not_right[a, :, None] & not_right & not_right[None, :, a]  # [b, c]: in the triangle a, b, c
            empty[a] = (self._turns[a] > 0) & ~inside.any(axis=2)
        return self._bits(empty & self._distinct & self._distinct[:, None])

    def _bits(self, members: NDArray[np.bool_]) -> Bits:
        """Return sets (..., P) as bits (..., W)."""
        count = members.shape[-1]
        words = -(-count // 64)
        packed = np.zeros((*members.shape[:-1], 8 * words), np.uint8)
        packed[..., : -(-count // 8)] = np.packbits(members, axis=-1, bitorder="little")
        return packed.view("<u8")

    def _members(self, bits: Bits) -> NDArray[np.bool_]:
        """Return bits (..., W) as sets (..., P)."""
        unpacked = np.unpackbits(np.ascontiguousarray(bits).view(np.uint8), axis=-1, bitorder="little")
        return unpacked[..., : len(self._tokens)].astype(np.bool_)
