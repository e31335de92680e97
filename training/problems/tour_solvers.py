"""Shortest tours for many small point sets at once: exact for up to a dozen points, near-optimal above."""

import fast_tsp
import numpy as np
from numpy.typing import NDArray

from training.problems.points import Points

Tours = NDArray[np.int64]
"""(B, P): each row a permutation of its set's points."""

SEARCHED = 21
"""Fewest points that fast_tsp searches by its local search."""
INTEGERS_A_UNIT = 40_000
"""fast_tsp takes whole distances below 2^16; this many make one, so that a unit square's diagonal fits."""


def pairwise_distances(points: Points) -> NDArray[np.float64]:
    """Return Euclidean distances (..., P, P) of points (..., P, 2)."""
    distances: NDArray[np.float64] = np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)
    return distances


def tour_lengths(points: Points, tours: Tours) -> NDArray[np.float64]:
    """Return the length (B,) of each closed tour."""
    visited = np.take_along_axis(points, np.asarray(tours)[..., None], 1)
    lengths: NDArray[np.float64] = np.linalg.norm(visited - np.roll(visited, 1, 1), axis=2).sum(1)
    return lengths


def optimal_tours(points: Points) -> Tours:
    """Return a shortest tour of each set, by dynamic programming over subsets (Held and Karp 1962).

    C(S, j) = min over k of C(S - {j}, k) + d(k, j): the shortest way from point 0 through all of S, ending in j.
    Takes O(2^P P^2) a set, 0.05 ms at P = 10 and 0.3 ms at P = 12; the table is float32, so a tour may lose 1e-6 of its length.

    Args:
        points: (B, P, 2), 3 <= P <= 13.
    """
    sets, others = len(points), points.shape[1] - 1
    distances = np.ascontiguousarray(pairwise_distances(points).transpose(1, 2, 0).astype(np.float32))  # (P, P, B)
    subsets = np.arange(1 << others)  # bit j stands for point j + 1
    sizes = np.array([subset.bit_count() for subset in range(1 << others)])
    cost = np.full((1 << others, others, sets), np.inf, np.float32)
    for last in range(others):
        cost[1 << last, last] = distances[0, last + 1]
    for size in range(2, others + 1):
        layer = subsets[sizes == size]
        for last in range(others):
            ending = layer[layer >> last & 1 == 1]
            cost[ending, last] = (cost[ending ^ (1 << last)] + distances[1:, last + 1]).min(1)
    return _walk_back(cost, distances)


def _walk_back(cost: NDArray[np.float32], distances: NDArray[np.float32]) -> Tours:
    """Return the tours (B, P) that the table of optimal_tours holds, from the last point back to point 0."""
    _, others, sets = cost.shape
    rows = np.arange(sets)
    tours = np.zeros((sets, others + 1), np.int64)
    remaining = np.full(sets, (1 << others) - 1)
    following = np.zeros(sets, np.int64)
    for place in range(others, 0, -1):
        lengths = cost[remaining, :, rows] + distances[1:, following, rows].T  # (B, P - 1)
        point = lengths.argmin(1)
        remaining ^= 1 << point
        following = point + 1
        tours[:, place] = following
    return tours


def short_tours(points: Points, milliseconds: float) -> Tours:
    """Return a short tour of each set, by the iterated local search of fast_tsp (2-opt, or-opt, or-3opt kicks).

    How far a search comes depends on the machine, so tours may differ from run to run. Measured: at P = 50 and 10 ms the 40
    tours tried were as short as after 300 ms; with 3 ms they were 1.8 % longer.

    Args:
        points: (B, P, 2), P >= 3, in the unit square.
        milliseconds: of search for each set.
    """
    copies = -(-SEARCHED // points.shape[1])  # tours of fewer points would be searched for exactly, in 0.2 s
    tours = np.empty(points.shape[:2], np.int64)
    for row, one in zip(tours, points, strict=True):
        found = _find_tour(np.tile(one, (copies, 1)), milliseconds)
        row[:] = list(dict.fromkeys(place % len(one) for place in found))  # a copy skipped makes no tour longer
    return tours


def reference_tours(points: Points, milliseconds: float) -> Tours:
    """Return tours to measure others by: exact up to 20 points (0.2 s at 20), those of a search of `milliseconds` above.

    Args:
        points: (B, P, 2), in the unit square. Distances count to 1 / INTEGERS_A_UNIT.
        milliseconds: of search for each set.
    """
    return np.array([_find_tour(one, milliseconds) for one in points], np.int64)


def _find_tour(points: Points, milliseconds: float) -> list[int]:
    distances = np.rint(pairwise_distances(points) * INTEGERS_A_UNIT).astype(int)
    return list(fast_tsp.find_tour(distances, milliseconds / 1000))
