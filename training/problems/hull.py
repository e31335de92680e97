"""Convex hulls: the corners counter-clockwise from the leftmost point (Vinyals et al. 2015, section 3.1)."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from training.config import Task
from training.problems.points import FreshPointSets, Points, PointSetConfig, order_by_x


class HullConfig(PointSetConfig):
    """Uniform point sets and their hulls, fresh at every step.

    Attributes:
        start: the first corner of a target: the `leftmost` point, or the `first` that the set has, as in Vinyals et al. 2015,
            which only an encoder that reads the points in their order can know.
    """

    task: ClassVar[Task] = "convex_hull"
    kind: Literal["hull"] = "hull"
    start: Literal["leftmost", "first"] = "leftmost"

    def build(self, data: Path | None, run: Path, seed: int) -> FreshPointSets:  # noqa: ARG002 - needs neither folder
        """Make the problem."""
        return FreshPointSets(self, seed, hull_corners if self.start == "leftmost" else hull_corners_from_first)


def hull_corners(points: Points) -> list[list[int]]:
    """Return the corners of each set's hull, counter-clockwise from the leftmost (then lowest) one.

    Polygons are compared up to rotation. Gift wrapping (Jarvis 1973), all sets at once: from a corner, the next is the
    point that takes the smallest left turn.

    Args:
        points: (B, P, 2), the points of a set distinct and no three on one line.
    """
    sets = np.arange(len(points))
    start = order_by_x(points)[:, 0]
    corners = [start]
    heading = np.full(len(points), -np.pi / 2)  # downwards, so that the first turn is counted from the left border
    closed = np.zeros(len(points), dtype=bool)
    while not closed.all():
        here = corners[-1]
        away = points - points[sets, here][:, None]  # (B, P, 2)
        turn = (np.arctan2(away[..., 1], away[..., 0]) - heading[:, None]) % (2 * np.pi)
        turn[sets, here] = np.inf
        following = turn.argmin(1)
        heading += turn[sets, following]
        closed |= following == start
        corners.append(np.where(closed, start, following))
    table = np.stack(corners, 1)
    counts = 1 + (table[:, 1:] != start[:, None]).sum(1)
    return [row[:count].tolist() for row, count in zip(table, counts, strict=True)]


def hull_corners_from_first(points: Points) -> list[list[int]]:
    """Return the corners of each set's hull (B, P, 2), counter-clockwise from the one of the lowest index."""
    hulls = hull_corners(points)
    starts = [corners.index(min(corners)) for corners in hulls]
    return [[*corners[start:], *corners[:start]] for corners, start in zip(hulls, starts, strict=True)]
