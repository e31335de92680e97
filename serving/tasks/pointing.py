"""Pointing: points to arrays, tokens to indices of points, and the best of what was found in several symmetries of the points."""

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.decoding.constraints import Constraint, HullConstraint, TourConstraint, TriangulationConstraint
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.decoding.options import SpecialTokens
from serving.errors import InvalidRequest
from serving.manifest import Manifest
from serving.tasks import geometry
from serving.tasks.base import Plan, Source, Task, first_banned
from serving.tasks.geometry import ExactPoints
from serving.tasks.options import RequestedOptions
from serving.tasks.symmetries import SYMMETRIES, mirrors, transformed
from serving.tasks.tours import edge_set
from serving.tasks.well_formed import MOST_POINTS, ConvexRule, TriangulationRule

COORDINATE_LIMIT: Final = 1e150
"""Largest size of a coordinate: areas of larger ones would not fit into a float64."""
LEAST_POINTS: Final = 3

Named = TypeVar("Named")
"""What an answer is a list of: indices of points, or triangles."""


@dataclass(frozen=True)
class PointSource(Source):
    """A source that remembers its points, since the answer is checked against them.

    Attributes:
        exact: the points as the request has them, (P, 2) float64, with what is known of them.
        symmetry: the one of `SYMMETRIES` in which the encoder gets them.
        scorable: what a given answer may not take: less than a search may not, since any order can be scored.
    """

    exact: ExactPoints
    symmetry: int
    scorable: Constraint

    @property
    def points(self) -> NDArray[np.float64]:
        """Return the points as the request has them, (P, 2) float64."""
        return self.exact.points


class Found(NamedTuple, Generic[Named]):
    """One hypothesis, and what it says of the points as the request has them."""

    hypothesis: Hypothesis
    answer: list[Named]


class Pointing(Task, Generic[Named]):
    """A set of points to some of its members in order.

    Attributes:
        scored_rule: what `scorable` of a source asks of an answer, for people.
        prepared_here: up to how many points, those of every symmetry counted, preparing them takes less time than handing them to
            another thread.
        judged_here: up to how many points, counted once for every answer, judging the answers does.
    """

    scored_rule: ClassVar[str]
    prepared_here: ClassVar[int] = 0
    judged_here: ClassVar[int] = 0

    def __init__(self, bundle: Bundle) -> None:
        """Read the ids of points and special tokens from the manifest."""
        super().__init__(bundle)
        vocabulary = bundle.manifest.vocabulary
        assert vocabulary.first_position is not None, "the manifest's validation"
        self.first_position = vocabulary.first_position
        self.special = SpecialTokens(vocabulary.pad, vocabulary.bos, vocabulary.eos)

    def source(self, points: Sequence[tuple[float, float]] | NDArray[np.float64], symmetry: int = 0) -> PointSource:
        """Return the encoder's input for (P, 2) points, in one of `SYMMETRIES`.

        Raises:
            InvalidRequest: too few or too many points, a coordinate that is not finite or too large, or points in a
                position for which there is no answer; the field is `points` or, for example, `points[3].x`.
        """
        return self.sources(points, (symmetry,))[0]

    def sources(
        self, points: Sequence[tuple[float, float]] | NDArray[np.float64], symmetries: Sequence[int]
    ) -> list[PointSource]:
        """Return the encoder's inputs for (P, 2) points in several symmetries; see `source`."""
        self.check_count(len(points))
        coordinates = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        _check_coordinates(coordinates)
        exact = ExactPoints(coordinates)
        self.check_position(exact)
        scorable = constraint_of(self.bundle.manifest, exact)
        return [self._source(exact, symmetry, scorable) for symmetry in symmetries]

    def _source(self, exact: ExactPoints, symmetry: int, scorable: Constraint) -> PointSource:
        count = len(exact)
        seen = transformed(exact.points, symmetry) if symmetry else exact.points
        inputs = {"points": seen, "point_counts": np.array(count, dtype=np.int64)}
        constraint = self._rule(exact, symmetry, scorable)
        return PointSource(inputs, count, self.first_position + count, constraint, exact, symmetry, scorable)

    def symmetries(self, given: int, requested: RequestedOptions) -> tuple[int, ...]:
        """Return the symmetries in which to decode.

        Args:
            given: how many the request asks for; 0 takes the model's default.
            requested: the request's options; those that speak of the answer's order go with one symmetry alone.

        Raises:
            InvalidRequest: too many, or more than one with such options.
        """
        if not 0 <= given <= len(SYMMETRIES):
            allowed = f"from 1 to {len(SYMMETRIES)}, or 0 for the model's default"
            raise InvalidRequest("symmetries", str(given), allowed)
        ordered = [
            name for name in ("target_prefix_tokens", "target_prefix", "alternatives") if getattr(requested, name)
        ]
        if ordered and given > 1:
            raise InvalidRequest("symmetries", str(given), f"1 together with options.{ordered[0]}")
        return SYMMETRIES[: 1 if ordered else given or self.bundle.manifest.defaults.symmetries]

    def plans(self, requested: RequestedOptions, sources: Sequence[PointSource]) -> list[Plan]:
        """Return how to search for the answer, in each of one request's symmetries; see `plan`."""
        first = self._widened(self.plan(requested, sources[0]))
        return [first, *(Plan(first.options, self.constraint(requested, source)) for source in sources[1:])]

    def best(
        self, found: Sequence[tuple[PointSource, Sequence[Hypothesis]]], requested: RequestedOptions
    ) -> list[Found[Named]]:
        """Return as many hypotheses as the request asks for, best first, of all that its symmetries found.

        Those that ended by themselves come first, then those with the best score; equal answers of several symmetries come once.
        """
        every = [
            Found(hypothesis, self.answer(hypothesis, source))
            for source, hypotheses in found
            for hypothesis in hypotheses
        ]
        if self._sorts(len(found)):
            points = found[0][0].points
            every.sort(key=lambda one: (True, -one.hypothesis.score) if _cut(one) else (False, self._cost(one, points)))
            if requested.sampling is None and not requested.alternatives:
                distinct: dict[Hashable, Found[Named]] = {}
                for one in every:
                    distinct.setdefault(self._identity(one.answer), one)
                every = list(distinct.values())
        return every[: requested.hypothesis_count or 1]

    @abstractmethod
    def answer(self, hypothesis: Hypothesis, source: PointSource) -> list[Named]:
        """Return what a hypothesis says of the points as the request has them."""

    @abstractmethod
    def _identity(self, answer: Sequence[Named]) -> Hashable:
        """Return what two answers have in common that are the same in another order."""

    def _rule(self, points: ExactPoints, symmetry: int, scorable: Constraint) -> Constraint:  # noqa: ARG002
        """Return what a search may not take."""
        return scorable

    def _widened(self, plan: Plan) -> Plan:
        """Return the plan, made to find more than is answered where the best of more is better."""
        return plan

    def _sorts(self, symmetry_count: int) -> bool:
        """Say whether hypotheses are put in order here; those of one search come in order."""
        return symmetry_count > 1

    def _cost(self, found: Found[Named], points: NDArray[np.float64]) -> float:  # noqa: ARG002 - a tour's is its length
        """Return by what hypotheses that ended are put in order, least first."""
        return -found.hypothesis.score

    def check_count(self, count: int) -> None:
        """Refuse fewer or more points than the model takes."""
        limits = self.bundle.manifest.limits
        least = max(LEAST_POINTS, limits.min_source_length)
        if not least <= count <= limits.source_length:
            raise InvalidRequest("points", f"{count} points", f"from {least} to {limits.source_length} points")

    def check_position(self, points: ExactPoints) -> None:
        """Refuse points that are all on one line, since they have neither a hull with an area nor a triangle."""
        if geometry.on_one_line(points):
            given = "all points equal" if geometry.all_equal(points.points) else "all points on one line"
            raise InvalidRequest("points", given, "points that are not all on one line")

    def indices(self, hypothesis: Hypothesis) -> list[int]:
        """Return the zero-based indices of the points that a hypothesis names, in order."""
        return [token - self.first_position for token in self.content(hypothesis)]

    def target(self, field: str, indices: Sequence[int], source: PointSource) -> tuple[int, ...]:
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
        wrong = first_banned((*tokens, self.special.eos), source.scorable)
        if wrong == len(tokens):
            raise InvalidRequest(field, f"{wrong} points", self.scored_rule)
        if wrong is not None:
            raise InvalidRequest(f"{field}[{wrong}]", str(indices[wrong]), self.scored_rule)
        return tokens

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return each point's index as text, and the end of the sequence as sentencepiece writes it."""
        return ["</s>" if token == self.special.eos else str(token - self.first_position) for token in tokens]


class ConvexHull(Pointing[int]):
    """Points to the corners of their convex hull, counter-clockwise."""

    rule = "corners of a convex polygon, counter-clockwise, of equal points the first"
    scored_rule = "at least three points, none twice, of equal points the first"
    prepared_here = 128
    judged_here = 128

    def _rule(
        self,
        points: ExactPoints,
        symmetry: int,
        scorable: Constraint,  # noqa: ARG002
    ) -> Constraint:
        rule = ConvexRule(points, self.first_position, self.special, mirrored=mirrors(symmetry))
        rule.prepare()  # here, not in the engine's turn
        return rule

    def answer(self, hypothesis: Hypothesis, source: PointSource) -> list[int]:
        """Return the corners, turned round where the model saw the points mirrored."""
        corners = self.indices(hypothesis)
        return corners[:1] + corners[:0:-1] if mirrors(source.symmetry) else corners

    def _identity(self, answer: Sequence[int]) -> Hashable:
        first = answer.index(min(answer)) if answer else 0
        return tuple(answer[first:]) + tuple(answer[:first])


class Delaunay(Pointing[geometry.Triangle]):
    """Points to the triangles of their Delaunay triangulation."""

    rule = "triangles with no other point in them that do not overlap, of equal points the first"
    scored_rule = "whole triangles of three different points each, none twice"

    def sources(
        self, points: Sequence[tuple[float, float]] | NDArray[np.float64], symmetries: Sequence[int]
    ) -> list[PointSource]:
        """Return the encoder's inputs; one rule serves them all, and it is prepared here, not in the engine's turn."""
        sources = super().sources(points, symmetries)
        rule = sources[0].constraint
        if isinstance(rule, TriangulationRule):
            rule.prepare()
        return [replace(source, constraint=rule) for source in sources]

    def _rule(self, points: ExactPoints, symmetry: int, scorable: Constraint) -> Constraint:  # noqa: ARG002
        if len(points) > MOST_POINTS:
            return scorable
        return TriangulationRule(points, self.first_position, self.special)

    def triangles(self, hypothesis: Hypothesis) -> list[geometry.Triangle]:
        """Return the whole triangles that a hypothesis names, the corners of each in ascending order."""
        corners = self.indices(hypothesis)
        triples = zip(*(iter(corners),) * 3, strict=False)  # a search cut short may leave one or two corners over
        return [(min(triple), sorted(triple)[1], max(triple)) for triple in triples]

    def answer(self, hypothesis: Hypothesis, source: PointSource) -> list[geometry.Triangle]:  # noqa: ARG002
        """Return the triangles: no symmetry changes them."""
        return self.triangles(hypothesis)

    def _identity(self, answer: Sequence[geometry.Triangle]) -> Hashable:
        return frozenset(answer)


class Tour(Pointing[int]):
    """Points to a short closed tour through all of them.

    What is asked for, the least length, is known here, and model scores only guess at it: so the shortest of all tours that were
    found comes first, those of the whole beam, which a search for one answer has anyway, since all tours end in one step.
    """

    rule = "every point once"
    scored_rule = rule
    prepared_here = 512

    def check_position(self, points: ExactPoints) -> None:
        """Refuse points that are all equal: their tour has no length. Points on one line have one."""
        if geometry.all_equal(points.points):
            raise InvalidRequest("points", "all points equal", "at least two different points")

    def answer(self, hypothesis: Hypothesis, source: PointSource) -> list[int]:  # noqa: ARG002
        """Return the order of visit; whichever way round, the tour is the same."""
        return self.indices(hypothesis)

    def _identity(self, answer: Sequence[int]) -> Hashable:
        return frozenset(edge_set(answer))

    def _widened(self, plan: Plan) -> Plan:
        options = plan.options
        if options.sampling is not None or options.alternatives:
            return plan
        return Plan(replace(options, hypothesis_count=options.beam_size), plan.constraint)

    def _sorts(self, symmetry_count: int) -> bool:  # noqa: ARG002
        return True

    def _cost(self, found: Found[int], points: NDArray[np.float64]) -> float:
        return geometry.tour_length(points, found.answer)


def constraint_of(manifest: Manifest, points: NDArray[np.float64] | ExactPoints) -> Constraint:
    """Return the least that an answer for these points (P, 2) must be: what can be scored.

    The export's parity check decodes under it too: what it records must not depend on what serving's search bans beyond.
    """
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


def _cut(found: Found[Named]) -> bool:
    """Say whether the search was over before the hypothesis was."""
    return found.hypothesis.finish_reason is not FinishReason.END_OF_SEQUENCE


def _check_coordinates(points: NDArray[np.float64]) -> None:
    right = np.abs(points) <= COORDINATE_LIMIT  # false of NaN too
    if not right.all():
        index, axis = np.argwhere(~right)[0].tolist()
        allowed = f"a finite number from -{COORDINATE_LIMIT:g} to {COORDINATE_LIMIT:g}"
        raise InvalidRequest(f"points[{index}].{'xy'[axis]}", f"{points[index, axis]:g}", allowed)
