"""Short tours: local search from a given one, to where no 2-opt and no or-opt move shortens it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.tasks.geometry import Indices, Points, is_permutation

Lengths = NDArray[np.float64]
"""(P, P) between points, or between the places of a tour."""
LONGEST_RUN: Final = 3
"""Points that an or-opt move takes along at most (Or 1976)."""
LEAST_GAIN: Final = 1e-12
"""A move must shorten a tour by this share of the longest distance: less could be rounding, and go back and forth."""


def distances_between(points: Points) -> Lengths:
    """Return (P, P) Euclidean distances, in the points' units."""
    away = points[:, None] - points[None]
    lengths: Lengths = np.hypot(away[..., 0], away[..., 1])
    return lengths


def edge_set(order: Indices) -> set[tuple[int, int]]:
    """Return the edges of a closed tour, the lower index first."""
    return {(min(a, b), max(a, b)) for a, b in zip(order, [*order[1:], *order[:1]], strict=True)}


def locally_optimal_tour(distances: Lengths, order: Indices) -> list[int]:
    """Return the tour that 2-opt (Croes 1958) and or-opt moves of up to three points make of this one.

    In a sweep every place's best move is found at once, in O(P^2), and those made, best first, whose edges are still there. What
    is returned is locally optimal: no such move shortens it. The order itself where there was none to make.

    Args:
        distances: (P, P), symmetric.
        order: a permutation of the P points; of one that is not, the points left out are put at the end and repetitions dropped.
    """
    count = len(distances)
    if not is_permutation(order, count):
        named = list(dict.fromkeys(order))
        order = [*named, *sorted(set(range(count)) - set(named))]
    tour = np.array(order, np.int64)
    runs = range(1, min(LONGEST_RUN, count - 2) + 1) if count > 4 else range(0)
    least = LEAST_GAIN * float(distances.max(initial=0.0))
    improved = count > 3
    while improved:
        while _two_opt_sweep(distances, tour, least):
            pass
        improved = any(_or_opt_sweep(distances, tour, run, least) for run in runs)
    return [int(point) for point in tour]


def _two_opt_sweep(distances: Lengths, tour: NDArray[np.int64], least: float) -> bool:
    """Turn round, in place, the stretches between two edges that shortens the tour by more than `least`; say whether any was."""
    count = len(tour)
    between = distances[np.ix_(tour, tour)]
    leg = between[np.arange(count), np.arange(count) - count + 1]  # from each place to the next
    gains = leg[:, None] + leg - between - np.roll(between, (-1, -1), (0, 1))
    np.fill_diagonal(gains, 0.0)
    partner = gains.argmax(axis=1)
    best = gains[np.arange(count), partner]
    moves = [place for place in np.argsort(-best, kind="stable").tolist() if best[place] > least]
    following = np.roll(tour, -1)
    edges = [
        (*map(int, (tour[i], following[i])), *map(int, (tour[j], following[j]))) for i in moves for j in [partner[i]]
    ]
    at = np.empty(count, np.int64)
    at[tour] = np.arange(count)
    made = False
    for a, b, c, d in edges:
        # The edges a-b and c-d give way to a-c and b-d; an earlier move may have turned both round, or taken one away.
        if tour[(at[a] + 1) % count] == b and tour[(at[c] + 1) % count] == d:
            first, second = int(at[a]), int(at[c])
        elif tour[at[a] - 1] == b and tour[at[c] - 1] == d:
            first, second = int(at[b]), int(at[d])
        else:
            continue
        low, high = min(first, second) + 1, max(first, second) + 1
        tour[low:high] = tour[low:high][::-1].copy()
        at[tour[low:high]] = np.arange(low, high)
        made = True
    return made


def _or_opt_sweep(distances: Lengths, tour: NDArray[np.int64], run: int, least: float) -> bool:
    """Put runs of points, as they are or turned round, elsewhere in the tour, in place; say whether any was moved."""
    count = len(tour)
    place = np.arange(count)
    between = distances[np.ix_(tour, tour)]
    leg = between[place, place - count + 1]
    last = np.roll(between, 1 - run, axis=0)  # [i, j]: from the end of the run that begins at i to place j
    freed = np.roll(leg, 1) + np.roll(leg, 1 - run) - between[place - 1, (place + run) % count]
    straight = freed[:, None] + leg - between - np.roll(last, -1, axis=1)
    turned = freed[:, None] + leg - last - np.roll(between, -1, axis=1)
    gains = np.maximum(straight, turned)
    gains[(place - place[:, None] + 1) % count <= run] = 0.0  # edges that the run has or touches
    target = gains.argmax(axis=1)
    best = gains[place, target]
    moves = []
    for i in np.argsort(-best, kind="stable").tolist():
        if best[i] <= least:
            break
        j = int(target[i])
        points = [int(tour[(i + step) % count]) for step in range(-1, run + 1)]
        moves.append((points, int(tour[j]), int(tour[(j + 1) % count]), bool(turned[i, j] >= straight[i, j])))
    made = False
    for points, c, d, turn in moves:
        at = int(np.flatnonzero(tour == points[0])[0])
        around = np.roll(tour, -at - 1)  # the run first, what stood before it last
        cut = np.flatnonzero(around == c)[0]
        if around[: run + 1].tolist() != points[1:] or cut < run or cut + 1 >= count or around[cut + 1] != d:
            continue
        stretch = around[:run][::-1] if turn else around[:run]
        tour[:] = np.concatenate((around[run : cut + 1], stretch, around[cut + 1 :]))
        made = True
    return made
