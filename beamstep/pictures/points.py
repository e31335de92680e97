"""Points, what a model found among them, and where it is wrong."""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, pairwise
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, Delaunay, QhullError

from beamstep.pictures.style import ANSWER, FAINT, INK, RIGHT, WRONG, plain, styled
from beamstep.points import Point

Places = NDArray[np.float64]
"""(P, 2) float64, the points moved and scaled into the unit square, their aspect ratio kept."""
Edge = tuple[int, int]
Drawing = Callable[[Axes, Places], str]
"""Draws an answer onto axes, and says in a few words how good it is."""

NUMBERED: Final = 20
"""Up to so many points are drawn with their indices."""
NEAR: Final = 1e-9
"""In the unit square: what is as near as this to a line or a circle is on it."""
SIDE_INCHES: Final = 4.6
PANEL_INCHES: Final = 3.0
DASHES: Final = (0, (4, 2))


def hull(corners: Sequence[int]) -> Drawing:
    """Draw a hull, and the convex hull (Qhull's) where that is another: corners it misses, and inner points taken for corners."""

    def draw(axes: Axes, places: Places) -> str:
        outline = places[list(corners)]
        axes.fill(*outline.T, facecolor=ANSWER, alpha=0.1)
        _line(axes, _closed(outline), ANSWER, "the model's hull")
        _scatter(axes, places)
        try:
            right = ConvexHull(places)
        except QhullError:  # all on one line, as far as floats tell
            return f"{len(corners)} corners"
        found = {tuple(place) for place in outline}
        missed = [index for index in right.vertices if tuple(places[index]) not in found]
        depths = places @ right.equations[:, :2].T + right.equations[:, 2]  # (P, sides), negative inside
        inner = [index for index in corners if depths[index].max() < -NEAR]
        covered = _area(outline) / right.volume
        if not missed and not inner and abs(covered - 1) < NEAR:
            return f"exact: {len(right.vertices)} corners"
        for side in _sides([int(index) for index in right.vertices]) - _sides(corners):
            _line(axes, places[list(side)], RIGHT, "the right hull", linestyle=DASHES)
        _ring(axes, places[missed], RIGHT, "a corner missed")
        _ring(axes, places[inner], WRONG, "no corner")
        faults = [f"{len(missed)} of {len(right.vertices)} corners missed"] if missed else []
        faults += [f"{len(inner)} too many"] if inner else []
        return f"{', '.join(faults or ['corners in a wrong order'])}\narea lost: {_rounded(100 * (1 - covered))} %"

    return draw


def tour(order: Sequence[int]) -> Drawing:
    """Draw a closed tour. Which is the shortest nobody knows, but where legs cross there is a shorter one."""

    def draw(axes: Axes, places: Places) -> str:
        legs = list(pairwise([*order, *order[:1]]))
        crossing = _crossing(places, legs)
        for leg in legs:
            colour, label = (WRONG, "legs that cross") if leg in crossing else (ANSWER, "the model's tour")
            _line(axes, places[list(leg)], colour, label)
        _scatter(axes, places)
        left_out = len(places) - len(set(order))
        faults = [f"{left_out} points left out"] if left_out else []
        faults += [f"{len(crossing)} legs cross"] if crossing else []
        return ", ".join(faults or ["no legs cross"])

    return draw


def triangulation(triangles: Sequence[tuple[int, int, int]]) -> Drawing:
    """Draw a triangulation: triangles with a point in their circumcircle, and the edges of Delaunay's (Qhull's) that it lacks.

    Where four points lie on one circle, either way to part them is right.
    """

    def draw(axes: Axes, places: Places) -> str:
        answer = sorted(set(triangles))
        wrong = {triangle for triangle in answer if not _is_delaunay(places, triangle)}
        for triangle in answer:
            colour, alpha, label = (WRONG, 0.25, "a wrong triangle") if triangle in wrong else (ANSWER, 0.1, None)
            axes.fill(*places[list(triangle)].T, facecolor=colour, alpha=alpha, edgecolor="none", label=label)
        edges = _edges(answer)
        for edge in sorted(edges):
            _line(axes, places[list(edge)], ANSWER, "the model's triangles")
        _scatter(axes, places)
        try:
            right = Delaunay(places).simplices.tolist()
        except QhullError:
            return f"{len(answer)} triangles"
        if not wrong and len(answer) == len(right):
            return f"exact: {len(right)} triangles"
        for edge in sorted(_edges(right) - edges):
            _line(axes, places[list(edge)], RIGHT, "a right edge missed", linestyle=DASHES)
        return f"{len(answer) - len(wrong)} of {len(right)} triangles right, {len(wrong)} wrong"

    return draw


def draw_points(points: Sequence[Point], answer: Drawing, title: str) -> Figure:
    """Draw points with an answer; under the title stands how good it is, along the axes how far the points reach."""
    with styled():
        figure = Figure(figsize=(SIDE_INCHES, SIDE_INCHES + 0.8))
        axes = figure.add_subplot()
        _panel(axes, points, answer, title)
        low, extent = _frame(points)
        for axis, start, name in ((axes.xaxis, low[0], "x"), (axes.yaxis, low[1], "y")):
            axis.set_ticks([0, 1], [f"{start:.4g}", f"{start + extent:.4g}"])
            axis.set_label_text(name, rotation=0)
        _legend(figure)
    return figure


def draw_panels(panels: Sequence[tuple[Sequence[Point], Drawing, str]], title: str, columns: int = 3) -> Figure:
    """Draw several answers beside each other, each with its points and title, and one legend for all."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with styled():
        figure = Figure(figsize=(columns * PANEL_INCHES, rows * (PANEL_INCHES + 0.4) + 0.8))
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid.flat, panels, strict=False):
            _panel(axes, *panel)
            axes.set_xticks([])
            axes.set_yticks([])
        figure.suptitle(plain(title), x=0.02, ha="left", fontsize=12)
        _legend(figure)
    return figure


def _panel(axes: Axes, points: Sequence[Point], answer: Drawing, title: str) -> None:
    low, extent = _frame(points)
    verdict = answer(axes, (np.array(points, np.float64) - low) / extent)
    axes.set(aspect="equal", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    axes.spines[:].set_visible(True)
    axes.set_title("\n".join(filter(None, [plain(title), verdict])))


def _frame(points: Sequence[Point]) -> tuple[Places, float]:
    """Return the lower left corner of the points' bounding box, and its longer side."""
    given = np.array(points, np.float64)
    return given.min(axis=0), float(np.ptp(given, axis=0).max()) or 1.0


def _line(axes: Axes, line: Places, colour: str, label: str, **style: Any) -> None:
    axes.plot(*line.T, color=colour, label=label, linewidth=1.5, solid_capstyle="round", zorder=2, **style)


def _scatter(axes: Axes, places: Places) -> None:
    axes.scatter(places[:, 0], places[:, 1], s=14, color=INK, linewidths=0, zorder=4)
    if len(places) <= NUMBERED:
        for index, place in enumerate(places):
            text = axes.annotate(
                str(index), place, (4, 3), textcoords="offset points", fontsize=8, color=FAINT, zorder=5
            )
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])  # legible on lines


def _ring(axes: Axes, places: Places, colour: str, label: str) -> None:
    if len(places):
        axes.scatter(
            places[:, 0],
            places[:, 1],
            s=90,
            facecolors="none",
            edgecolors=colour,
            linewidths=1.6,
            label=label,
            zorder=5,
        )


def _legend(figure: Figure) -> None:
    """Put one legend below: each label once."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True)) | found
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=4, handlelength=1.6)


def _closed(outline: Places) -> Places:
    return np.concatenate([outline, outline[:1]])


def _area(outline: Places) -> float:
    """Return a polygon's area; the shoelace formula, positive where it runs counter-clockwise."""
    x, y = outline.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _rounded(number: float) -> str:
    """Return two significant digits at least, and never a power of ten."""
    return f"{number:.0f}" if abs(number) >= 10 else f"{number:.2g}"


def _sides(polygon: Sequence[int]) -> set[Edge]:
    """Return a polygon's sides, each from the smaller index to the larger."""
    return {(min(side), max(side)) for side in pairwise([*polygon, *polygon[:1]])}


def _edges(triangles: Iterable[Sequence[int]]) -> set[Edge]:
    return {edge for triangle in triangles for edge in combinations(sorted(triangle), 2)}


def _turn(a: Places, b: Places, c: Places) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _crossing(places: Places, legs: Sequence[Edge]) -> set[Edge]:
    """Return the legs that cross another one in the inside of both."""
    found: set[Edge] = set()
    for one, other in combinations(legs, 2):
        (a, b), (c, d) = places[list(one)], places[list(other)]
        if _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0:
            found |= {one, other}
    return found


def _is_delaunay(places: Places, triangle: tuple[int, int, int]) -> bool:
    """Tell whether a triangle has an area, and no point within its circumcircle."""
    a, b, c = places[list(triangle)]
    double_area = _turn(a, b, c)
    if double_area == 0:
        return False
    (bx, by), (cx, cy) = b - a, c - a
    centre = a + np.array(
        [cy * (b - a) @ (b - a) - by * (c - a) @ (c - a), bx * (c - a) @ (c - a) - cx * (b - a) @ (b - a)]
    ) / (2 * double_area)
    radius = float(np.linalg.norm(a - centre))
    return bool(np.linalg.norm(places - centre, axis=1).min() > radius - NEAR * max(1.0, radius))
