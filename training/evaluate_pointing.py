"""A quick look at a pointing run, also while it trains: greedy answers to fresh uniform points, and how good they are.

`python -m training.evaluate_pointing RUN`. Figures to report come from `beamstep evaluate`, which measures what is served.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from training.models.base import SequenceToSequence
from training.problems.delaunay import delaunay_triangles
from training.problems.hull import hull_corners
from training.problems.points import Points, instance_generator, pointing_batch, uniform_points
from training.problems.tour_solvers import optimal_tours, short_tours, tour_lengths
from training.run import load_run, newest_weights
from training.vocabulary import BOS, EOS, FIRST_POSITION

EVALUATION = 9
"""The stream of instances (problems/points.py): neither trained on nor validated on."""


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


def score_hulls(model: SequenceToSequence, points: Points) -> dict[str, float]:
    """Return the share of hulls (percent) that are exactly right, up to rotation."""
    answers = decode_greedily(model, points, max_length=points.shape[1] + 1)
    return {"exact": _percent([same_polygon(*pair) for pair in zip(answers, hull_corners(points), strict=True)])}


def score_tours(model: SequenceToSequence, points: Points) -> dict[str, float]:
    """Return the mean length of the tours and how far, in percent, it is above that of optimal (from 12 points: good) ones."""
    size = points.shape[1]
    answers = np.array(decode_greedily(model, points, max_length=size, each_point_once=True))
    best = optimal_tours(points) if size <= 11 else short_tours(points, milliseconds=10)
    length, best_length = tour_lengths(points, answers).mean(), tour_lengths(points, best).mean()
    return {"mean_length": float(length), "gap": float(100 * (length / best_length - 1))}


def score_triangulations(model: SequenceToSequence, points: Points) -> dict[str, float]:
    """Return the share of triangulations, and of triangles, that are exactly right, in percent."""
    answers = [triangle_set(answer) for answer in decode_greedily(model, points, max_length=6 * points.shape[1])]
    truths = [triangle_set(triangles.ravel().tolist()) for triangles in delaunay_triangles(points)]
    pairs = list(zip(answers, truths, strict=True))
    covered = [len(answer & truth) / len(truth) for answer, truth in pairs]
    return {"exact": _percent([answer == truth for answer, truth in pairs]), "triangle_coverage": _percent(covered)}


def _percent(shares: Sequence[float]) -> float:
    return float(100 * np.mean(shares))


SCORES = {"hull": score_hulls, "tour": score_tours, "delaunay": score_triangulations}


def main(
    run: Annotated[Path, typer.Argument(help="The run folder of a pointing problem.")],
    sizes: Annotated[str, typer.Option(help="How many points a set has, separated by commas.")] = "5,10,20,50",
    count: Annotated[int, typer.Option(min=1, help="Sets of each size.")] = 500,
) -> None:
    """Score the averaged weights, or those of the last checkpoint while there are none."""
    torch.set_num_threads(1)
    weights = newest_weights(run)
    loaded = load_run(run, weights=weights)
    score = SCORES.get(loaded.recipe.problem.kind)
    if score is None:
        raise typer.BadParameter(
            f"{run} holds a problem of kind {loaded.recipe.problem.kind}; allowed: {', '.join(SCORES)}"
        )
    for size in (int(size) for size in sizes.split(",")):
        points = uniform_points(instance_generator(0, EVALUATION, size), count, size)
        figures = ", ".join(f"{name} {figure:.3f}" for name, figure in score(loaded.model, points).items())
        typer.echo(f"{weights}: {count} sets of {size} points, greedy: {figures}")


if __name__ == "__main__":
    typer.run(main)
