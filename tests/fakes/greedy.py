"""Greedy search as one would write it: a row, a loop, and the rules of every task in plain Python."""

import math
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from serving.decoding.options import DecodingOptions
from serving.decoding.step import Model, StepInputs
from serving.manifest import TaskName

Tokens = tuple[int, ...]
MayFollow = Callable[[Tokens, int], bool]
FIRST_POSITION = 3
EOS = 2


def greedy(
    model: Model, source: Mapping[str, NDArray[np.generic]], options: DecodingOptions, may_follow: MayFollow
) -> tuple[Tokens, list[float]]:
    """Take the best allowed token at every step, the smaller id of equal ones; return tokens and their log-probs."""
    encoded = model.encode([source])
    state, tokens, log_probs = encoded.state, (), []
    zero, none = np.zeros(1, np.int64), np.zeros((1, 0), np.int64)
    while True:
        last = np.array([tokens[-1] if tokens else options.special.bos])
        step = StepInputs(last, zero, zero, none, zero + EOS, candidates=options.vocabulary_size)
        outputs, state = model.step(step, encoded.memory, state)
        row = dict(zip(outputs.candidate[0].tolist(), outputs.log_prob[0].tolist(), strict=True))
        allowed = [token for token in sorted(row) if row[token] > -math.inf and may_follow(tokens, token)]
        best = max(allowed, key=lambda token: row[token], default=None)
        if best is None or (len(tokens) == options.max_length and best != EOS):
            return tokens, log_probs
        tokens, log_probs = (*tokens, best), [*log_probs, row[best]]
        if best == EOS:
            return tokens, log_probs


def rule_of(task: TaskName, points: NDArray[np.float64] | None) -> MayFollow:
    """Return what keeps an answer of a task well-formed, as the tasks' own words have it; anything goes in text."""
    if points is None:
        return anything
    places = [tuple(point) for point in points.tolist()]

    def on_a_hull(tokens: Tokens, following: int) -> bool:
        """Say whether at least three corners come of it, none twice, of equal points the first."""
        if following == EOS:
            return len(tokens) >= 3
        index = following - FIRST_POSITION
        return following not in tokens and places.index(places[index]) == index

    def on_a_tour(tokens: Tokens, following: int) -> bool:
        """Say whether every point comes once."""
        return len(tokens) == len(places) if following == EOS else following not in tokens

    def in_a_triangulation(tokens: Tokens, following: int) -> bool:
        """Say whether whole triangles of different points come of it, none twice, not more than planarity allows."""
        whole, begun = len(tokens) // 3, tokens[len(tokens) // 3 * 3 :]
        if following == EOS:
            return whole > 0 and not begun
        if whole >= 2 * len(places) - 5 or following in begun:
            return False
        triangles = {frozenset(tokens[at : at + 3]) for at in range(0, 3 * whole, 3)}
        corners = {*begun, following}
        others = set(range(FIRST_POSITION, FIRST_POSITION + len(places))) - corners
        return any(frozenset(corners | set(rest)) not in triangles for rest in combinations(others, 3 - len(corners)))

    rules: dict[str, MayFollow] = {"convex_hull": on_a_hull, "tour": on_a_tour, "delaunay": in_a_triangulation}
    return rules[task]


def anything(tokens: Tokens, following: int) -> bool:
    """Rule nothing out."""
    return True
