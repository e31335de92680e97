"""Corpus metrics of pointing, as Vinyals et al. 2015 (section 4) define them; in percent but for lengths.

An answer is a list of zero-based point indices or of triangles; an instance the server refused has an empty one.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import Delaunay, QhullError

from export.evaluation.instances import Instance, Points, Triangle, as_cycle, as_triangles, sorted_triangle
from export.evaluation.lines import BadData
from serving.tasks.geometry import (
    convex_hull,
    is_permutation,
    is_simple_polygon,
    polygon_area,
    tour_length,
)
from serving.tasks.triangulation import Triangulations
from serving.tasks.verification import same_cycle

Figures = dict[str, float | None]
"""Metric to value; None where no answer could be measured."""


def score_hulls(
    point_sets: Sequence[Points], references: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> Figures:
    """Score polygons against those of `reference_hull`.

    Returns:
        exact: share of answers that are the reference: the same corners counter-clockwise, whichever comes first.
        valid: share of answers that are simple polygons.
        area: mean share of the true hull's area that an answer covers. As in the paper over valid answers alone; it says
            nothing where few are valid (the paper prints FAIL below 99 %), so read it beside `valid`.
    """
    exact = 0
    covered: list[float] = []
    for points, reference, answer in zip(point_sets, references, answers, strict=True):
        exact += same_cycle(answer, reference)
        if is_simple_polygon(points, answer):
            covered.append(polygon_area(points, answer) / polygon_area(points, convex_hull(points)))
    count = len(answers)
    return {"exact": 100 * exact / count, "valid": 100 * len(covered) / count, "area": _mean(covered, scale=100)}


def score_tours(
    point_sets: Sequence[Points], references: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> Figures:
    """Score tours against given ones.

    Returns:
        valid: share of answers that visit every point once.
        mean_length: of the valid answers.
        given_mean_length: of the given tours, over the same sets of points.
        gap: by how much mean_length exceeds given_mean_length, in percent; negative where the answers are shorter.
    """
    lengths: list[float] = []
    given_lengths: list[float] = []
    for points, given, answer in zip(point_sets, references, answers, strict=True):
        if is_permutation(answer, len(points)):
            lengths.append(tour_length(points, answer))
            given_lengths.append(tour_length(points, given))
    mean, given_mean = _mean(lengths), _mean(given_lengths)
    return {
        "valid": 100 * len(lengths) / len(answers),
        "mean_length": mean,
        "given_mean_length": given_mean,
        "gap": 100 * (mean / given_mean - 1) if mean is not None and given_mean else None,
    }


def rounded_gaps(
    instances: Sequence[Instance], references: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> tuple[float | None, tuple[str, ...]]:
    """Measure tours as TSPLIB does, every distance rounded to the nearest integer (Reinelt 1991).

    Returns:
        the mean, over the valid answers, of by how much each exceeds the given tour, in percent; and a note on each instance.
    """
    gaps, notes = [], []
    for instance, reference, answer in zip(instances, references, answers, strict=True):
        given = rounded_length(instance.points, reference)
        if not is_permutation(answer, len(instance.points)):
            notes.append(f"{instance.where}: no tour; given {given}")
            continue
        length = rounded_length(instance.points, answer)
        gaps.append(100 * (length / given - 1))
        notes.append(f"{instance.where}: {length}, given {given}, in rounded distances: {gaps[-1]:+.2f} %")
    return _mean(gaps), tuple(notes)


def rounded_length(points: Points, order: Sequence[int]) -> int:
    """Return the length of the closed tour in TSPLIB's EUC_2D distances: nint(d), halves up."""
    visited = points[list(order)]
    legs = np.roll(visited, -1, axis=0) - visited
    return int(np.floor(np.hypot(legs[:, 0], legs[:, 1]) + 0.5).sum())


def score_triangulations(
    point_sets: Sequence[Points], references: Sequence[frozenset[Triangle]], answers: Sequence[Sequence[Triangle]]
) -> Figures:
    """Score triangulations against those of `reference_triangulation`.

    Returns:
        exact: share of answers that are the reference's set of triangles.
        valid: share of answers that cover the hull, edge to edge, without overlap.
        triangle_coverage: share of all references' triangles that the answers have.
    """
    exact = valid = found = 0
    for points, reference, answer in zip(point_sets, references, answers, strict=True):
        triangles = frozenset(sorted_triangle(triangle) for triangle in answer)
        exact += triangles == reference
        valid += bool(answer) and Triangulations(points).is_triangulation(answer)
        found += len(triangles & reference)
    count, wanted = len(answers), sum(map(len, references))
    return {"exact": 100 * exact / count, "valid": 100 * valid / count, "triangle_coverage": 100 * found / wanted}


def reference_hull(instance: Instance) -> Sequence[int]:
    """Return the corners to find, counter-clockwise: the line's output, or the hull itself where the line has none."""
    if instance.output is None:
        return convex_hull(instance.points)
    corners = as_cycle(instance)
    return corners if _is_counter_clockwise(instance.points, corners) else corners[::-1]


def reference_triangulation(instance: Instance) -> frozenset[Triangle]:
    """Return the triangles to find: the line's output, or SciPy's (Qhull's) Delaunay triangulation where the line has none.

    Raises:
        BadData: the output is no list of triangles, or the points are all on one line.
    """
    if instance.output is not None:
        return as_triangles(instance)
    try:
        return delaunay_triangles(instance.points)
    except QhullError:
        raise BadData(f"{instance.where}: the points have no triangulation, they are all on one line") from None


def delaunay_triangles(points: Points) -> frozenset[Triangle]:
    """Return the Delaunay triangulation of points that are not all on one line."""
    return frozenset(sorted_triangle(map(int, corners)) for corners in Delaunay(points).simplices)


def _is_counter_clockwise(points: Points, corners: Sequence[int]) -> bool:
    """Say whether the polygon's signed area (the shoelace formula) is positive."""
    x, y = points[list(corners)].T
    return bool(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0)


def _mean(values: Sequence[float], scale: float = 1.0) -> float | None:
    return scale * sum(values) / len(values) if values else None
