"""Greedy answers of a pointer network in torch, and how good they are: a look at a run while it trains.

The figures that count are measured through serving (`beamstep evaluate`); these need no export.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.models.base import SequenceToSequence
from training.problems.points import Points, pointing_batch
from training.vocabulary import BOS, EOS, FIRST_POSITION


@torch.inference_mode()
def decode_greedily(
    model: SequenceToSequence, points: Points, max_length: int, each_point_once: bool = False
) -> list[list[int]]:
    """Return the most probable next point until `eos`, for every set.

    Args:
        model: a pointer network, in evaluation mode.
        points: (B, P, 2).
        max_length: steps after which an answer is cut.
        each_point_once: ban what was visited, and `eos` before all were, as serving does for tours.

    Returns:
        B sequences of point indices without `eos`.
    """
    memory, state = model.encoder(pointing_batch(points, [[]] * len(points)).inputs)
    token = torch.full((len(points),), BOS)
    banned = torch.zeros(len(points), FIRST_POSITION + points.shape[1], dtype=torch.bool)
    tokens = []
    for step in range(max_length):
        logits, state, _ = model.decoder.step(token, memory, state)
        if each_point_once:
            banned[:, EOS] = step < points.shape[1]
            logits = logits.masked_fill(banned, -torch.inf)
        token = logits.argmax(1)
        banned.scatter_(1, token.unsqueeze(1), True)
        tokens.append(token)
        if each_point_once and step + 1 == points.shape[1]:
            break
    return [_until_eos(row) for row in torch.stack(tokens, 1)]


def _until_eos(tokens: Tensor) -> list[int]:
    answer = []
    for token in tokens.tolist():
        if token == EOS:
            break
        answer.append(token - FIRST_POSITION)
    return answer


def same_polygon(answer: Sequence[int], corners: Sequence[int]) -> bool:
    """Tell whether two sequences name the same corners in the same direction, wherever they start."""
    if len(answer) != len(corners) or set(answer) != set(corners):
        return False
    start = list(corners).index(answer[0])
    return list(answer) == [*corners[start:], *corners[:start]]


def triangle_set(answer: Sequence[int]) -> set[frozenset[int]]:
    """Return the triangles that an answer names, three points each; what is left of an incomplete one does not count."""
    return {frozenset(answer[at : at + 3]) for at in range(0, len(answer) - 2, 3)}
