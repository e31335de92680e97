"""Pointing: points to arrays, tokens to indices of points, and the check of what was pointed at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.decoding.constraints import Constraint, HullConstraint, TourConstraint, TriangulationConstraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import SpecialTokens
from serving.errors import InvalidRequest
from serving.manifest import Manifest
from serving.tasks import geometry
from serving.tasks.base import Source, Task, first_banned

COORDINATE_LIMIT: Final = 1e150
"""Largest size of a coordinate: areas of larger ones would not fit into a float64."""
LEAST_POINTS: Final = 3


@dataclass(frozen=True)
class PointSource(Source):
    """A source that remembers its points (P, 2) float64, since the answer is checked against them."""

    points: NDArray[np.float64]


class Pointing(Task):
    """A set of points to some of its members in order."""

    def __init__(self, bundle: Bundle) -> None:
        """Read the ids of points and special tokens from the manifest."""
        super().__init__(bundle)
        vocabulary = bundle.manifest.vocabulary
        assert vocabulary.first_position is not None, "the manifest's validation"
        self.first_position = vocabulary.first_position
        self.special = SpecialTokens(vocabulary.pad, vocabulary.bos, vocabulary.eos)

    def source(self, points: Sequence[tuple[float, float]] | NDArray[np.float64]) -> PointSource:
        """Return the encoder's input for (P, 2) points.

        Raises:
            InvalidRequest: too few or too many points, a coordinate that is not finite or too large, or points in a
                position for which there is no answer; the field is `points` or, for example, `points[3].x`.
        """
        self.check_count(len(points))
        coordinates = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        _check_coordinates(coordinates)
        self.check_position(coordinates)
        inputs = {"points": coordinates, "point_counts": np.array(len(coordinates), dtype=np.int64)}
        count = len(coordinates)
        return PointSource(
            inputs, count, self.first_position + count, constraint_of(self.bundle.manifest, coordinates), coordinates
        )

    def check_count(self, count: int) -> None:
        """Refuse fewer or more points than the model takes."""
        limits = self.bundle.manifest.limits
        least = max(LEAST_POINTS, limits.min_source_length)
        if not least <= count <= limits.source_length:
            raise InvalidRequest("points", f"{count} points", f"from {least} to {limits.source_length} points")

    def check_position(self, points: NDArray[np.float64]) -> None:
        """Refuse points that are all on one line, since they have neither a hull with an area nor a triangle."""
        if geometry.on_one_line(points):
            given = "all points equal" if geometry.all_equal(points) else "all points on one line"
            raise InvalidRequest("points", given, "points that are not all on one line")

    def indices(self, hypothesis: Hypothesis) -> list[int]:
        """Return the zero-based indices of the points that a hypothesis names, in order."""
        return [token - self.first_position for token in self.content(hypothesis)]

    def target(self, field: str, indices: Sequence[int], source: Source) -> tuple[int, ...]:
        """Return the tokens of a whole answer, given as zero-based indices of points.

        Raises:
            InvalidRequest: there is no such point, or the task allows no such answer; where one index is at fault, the field is
                named `<field>[i]`.
        """
        self.check_target_length(field, len(indices), "points")  # a message has room for millions
        for place, index in enumerate(indices):
            if not 0 <= index < source.length:
                allowed = f"from 0 to {source.length - 1}, the indices of the points"
                raise InvalidRequest(f"{field}[{place}]", str(index), allowed)
        tokens = tuple(self.first_position + index for index in indices)
        wrong = first_banned((*tokens, self.special.eos), source.constraint)
        if wrong == len(tokens):
            raise InvalidRequest(field, f"{wrong} points", self.rule)
        if wrong is not None:
            raise InvalidRequest(f"{field}[{wrong}]", str(indices[wrong]), self.rule)
        return tokens

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return each point's index as text, and the end of the sequence as sentencepiece writes it."""
        return ["</s>" if token == self.special.eos else str(token - self.first_position) for token in tokens]


class ConvexHull(Pointing):
    """Points to the corners of their convex hull, counter-clockwise."""

    rule = "at least three points, none twice, of equal points the first"


class Delaunay(Pointing):
    """Points to the triangles of their Delaunay triangulation."""

    rule = "whole triangles of three different points each, none twice"

    def triangles(self, hypothesis: Hypothesis) -> list[geometry.Triangle]:
        """Return the whole triangles that a hypothesis names, the corners of each in ascending order."""
        corners = self.indices(hypothesis)
        triples = zip(*(iter(corners),) * 3, strict=False)  # a search cut short may leave one or two corners over
        return [(min(triple), sorted(triple)[1], max(triple)) for triple in triples]


class Tour(Pointing):
    """Points to a short closed tour through all of them."""

    rule = "every point once"

    def check_position(self, points: NDArray[np.float64]) -> None:
        """Refuse points that are all equal: their tour has no length. Points on one line have one."""
        if geometry.all_equal(points):
            raise InvalidRequest("points", "all points equal", "at least two different points")


def constraint_of(manifest: Manifest, points: NDArray[np.float64]) -> Constraint:
    """Return what keeps an answer for these points (P, 2) well-formed; the export's parity check decodes under it too."""
    vocabulary = manifest.vocabulary
    assert vocabulary.first_position is not None, "a pointing bundle"
    special = SpecialTokens(vocabulary.pad, vocabulary.bos, vocabulary.eos)
    match manifest.task:
        case "convex_hull":
            repeats = geometry.repeats(points) + vocabulary.first_position
            return HullConstraint(special, tuple(repeats.tolist()))
        case "delaunay":
            return TriangulationConstraint(len(points), vocabulary.first_position, special)
        case "tour":
            return TourConstraint(len(points), special)
        case text:
            raise AssertionError(f"{text} is no pointing task")


def _check_coordinates(points: NDArray[np.float64]) -> None:
    wrong = np.argwhere(~(np.abs(points) <= COORDINATE_LIMIT))  # true of NaN too
    if len(wrong):
        index, axis = wrong[0].tolist()
        allowed = f"a finite number from -{COORDINATE_LIMIT:g} to {COORDINATE_LIMIT:g}"
        raise InvalidRequest(f"points[{index}].{'xy'[axis]}", f"{points[index, axis]:g}", allowed)
