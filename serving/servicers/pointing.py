"""PointingService on the engine; every answer is judged before it is sent, and repaired where the request wants it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import numpy as np

from beamstep.v1 import model_pb2, pointing_pb2
from beamstep.v1.pointing_pb2_grpc import PointingServiceServicer
from serving.decoding.hypothesis import Hypothesis
from serving.errors import InvalidRequest
from serving.request import Decoded
from serving.servicers.backend import Asked, Backend, Context, Models, check_no_deadline_rule
from serving.servicers.messages import decoding_of, reference_of, requested_options, slowest, timings_of
from serving.tasks import geometry
from serving.tasks.base import Plan
from serving.tasks.options import RequestedOptions
from serving.tasks.pointing import ConvexHull, Delaunay, Pointing, PointSource, Tour
from serving.tasks.symmetries import SYMMETRIES
from serving.tasks.verification import HullJudge, Repair, Repaired, TourJudge, TriangulationJudge

AnyPointing = TypeVar("AnyPointing", bound=Pointing[Any])
Result = TypeVar("Result")
Request = (
    pointing_pb2.FindConvexHullRequest | pointing_pb2.FindDelaunayTriangulationRequest | pointing_pb2.FindTourRequest
)
SCORED: Final[Mapping[int, type[Pointing[Any]]]] = {
    model_pb2.TASK_CONVEX_HULL: ConvexHull,
    model_pb2.TASK_DELAUNAY: Delaunay,
    model_pb2.TASK_TOUR: Tour,
}
REPAIRS: Final = {
    pointing_pb2.REPAIR_UNSPECIFIED: Repair.NONE,
    pointing_pb2.REPAIR_NONE: Repair.NONE,
    pointing_pb2.REPAIR_FIX: Repair.FIX,
}


@dataclass(frozen=True)
class Searched(Generic[AnyPointing]):
    """What the engine found for one request.

    Attributes:
        task: of the model that the request names.
        requested: its options.
        repair: what to do with answers that are not right.
        seed: what they were drawn with, if they were.
        found: the hypotheses of each symmetry.
        last: the one of these searches that was over last.
        deadline_reached: whether the deadline came before one of them was over.
    """

    task: AnyPointing
    requested: RequestedOptions
    repair: Repair
    seed: int | None
    found: Sequence[tuple[PointSource, Sequence[Hypothesis]]]
    last: Decoded
    deadline_reached: bool

    @property
    def points(self) -> geometry.ExactPoints:
        """Return the points as the request has them."""
        return self.found[0][0].exact

    def outcome(self, repaired: Repaired | None) -> pointing_pb2.RepairOutcome:
        """Say what was done to an answer."""
        if self.repair is Repair.NONE:
            return pointing_pb2.REPAIR_OUTCOME_UNSPECIFIED
        return pointing_pb2.REPAIR_OUTCOME_NOT_NEEDED if repaired is None else pointing_pb2.REPAIR_OUTCOME_REPAIRED


class PointingServicer(PointingServiceServicer):
    """Points at hulls, triangulations and tours."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def FindConvexHull(
        self, request: pointing_pb2.FindConvexHullRequest, context: Context
    ) -> pointing_pb2.FindConvexHullResponse:
        """Find a convex hull."""
        arrived = time.monotonic()
        searched = await self._search(ConvexHull, request, context)
        return pointing_pb2.FindConvexHullResponse(
            hypotheses=await _judged(_hulls, searched),
            model=reference_of(searched.task.bundle),
            timings=timings_of(searched.last, arrived),
            deadline_reached=searched.deadline_reached,
        )

    async def FindDelaunayTriangulation(
        self, request: pointing_pb2.FindDelaunayTriangulationRequest, context: Context
    ) -> pointing_pb2.FindDelaunayTriangulationResponse:
        """Find a Delaunay triangulation."""
        arrived = time.monotonic()
        searched = await self._search(Delaunay, request, context)
        return pointing_pb2.FindDelaunayTriangulationResponse(
            hypotheses=await _judged(_triangulations, searched),
            model=reference_of(searched.task.bundle),
            timings=timings_of(searched.last, arrived),
            deadline_reached=searched.deadline_reached,
        )

    async def FindTour(self, request: pointing_pb2.FindTourRequest, context: Context) -> pointing_pb2.FindTourResponse:
        """Find a tour."""
        arrived = time.monotonic()
        searched = await self._search(Tour, request, context)
        return pointing_pb2.FindTourResponse(
            hypotheses=await _judged(_tours, searched),
            model=reference_of(searched.task.bundle),
            timings=timings_of(searched.last, arrived),
            deadline_reached=searched.deadline_reached,
        )

    async def ScoreTarget(
        self, request: pointing_pb2.PointingServiceScoreTargetRequest, context: Context
    ) -> pointing_pb2.PointingServiceScoreTargetResponse:
        """Score a given answer."""
        arrived = time.monotonic()
        check_no_deadline_rule(request)
        if request.task not in SCORED:
            allowed = ", ".join(model_pb2.Task.Name(task) for task in SCORED)
            known = request.task in model_pb2.Task.values()
            raise InvalidRequest("task", model_pb2.Task.Name(request.task) if known else str(request.task), allowed)
        models = self._backend.models(SCORED[request.task], request)
        (sources,) = _sources(models, request.points, SYMMETRIES[:1])
        target = models.first.target("point_indices", request.point_indices, sources[0])
        plan = models.first.plan_score(requested_options(request), sources[0], target)
        asked = Asked.of(models, sources, plan, request)
        decoded = await self._backend.decode(asked, context)
        return pointing_pb2.PointingServiceScoreTargetResponse(
            decoding=decoding_of(asked.task, decoded.hypotheses[0]),
            model=reference_of(asked.task.bundle),
            timings=timings_of(decoded, arrived),
        )

    async def _search(self, kind: type[AnyPointing], request: Request, context: Context) -> Searched[AnyPointing]:
        models = self._backend.models(kind, request)
        task, requested = models.first, requested_options(request)
        if request.repair not in REPAIRS:
            raise InvalidRequest("repair", str(request.repair), ", ".join(pointing_pb2.Repair.keys()[1:]))
        symmetries = task.symmetries(request.symmetries, requested)
        here = len(request.points) * len(symmetries) * len(models.tasks) <= task.prepared_here
        sources = await _worked_out(lambda: _sources(models, request.points, symmetries), here=here)
        plans = task.plans(requested, [of_models[0] for of_models in sources])
        asked = [Asked.of(models, of_models, plan, request) for of_models, plan in zip(sources, plans, strict=True)]
        # A canary decodes the points as they are, whatever the number of symmetries.
        asked[0] = replace(asked[0], again=lambda other: _again(other, request, requested))
        decoded = await self._backend.decode_all(asked, context)
        return Searched(
            task,
            requested,
            REPAIRS[request.repair],
            asked[0].seed,
            [(one.source, answer.hypotheses) for one, answer in zip(asked, decoded, strict=True)],
            slowest(decoded),
            any(answer.deadline_reached for answer in decoded),
        )


async def _worked_out(work: Callable[[], Result], *, here: bool) -> Result:
    """Do some work here, or beside the event loop: it may take milliseconds, but handing it over takes a quarter of one."""
    return work() if here else await asyncio.to_thread(work)


async def _judged(judge: Callable[[Searched[AnyPointing]], Result], searched: Searched[AnyPointing]) -> Result:
    """Judge what was found, which takes up to tens of milliseconds."""
    count = sum(len(hypotheses) for _, hypotheses in searched.found)
    here = len(searched.points) * count <= searched.task.judged_here
    return await _worked_out(lambda: judge(searched), here=here)


def _again(task: AnyPointing, request: Request, requested: RequestedOptions) -> tuple[PointSource, Plan]:
    """Read a request as another model does, in the first symmetry."""
    ((source,),) = _sources(Models((task,), (1.0,)), request.points, SYMMETRIES[:1])
    (plan,) = task.plans(requested, [source])
    return source, plan


def _sources(
    models: Models[AnyPointing], points: Sequence[pointing_pb2.Point], symmetries: Sequence[int]
) -> list[list[PointSource]]:
    """Return the points in each symmetry, as each model reads them."""
    for task in models.tasks:
        task.check_count(len(points))  # a message has room for a million, which take a while to unpack
    coordinates = np.array([(point.x, point.y) for point in points])
    of_models = [task.sources(coordinates, symmetries) for task in models.tasks]
    return [list(sources) for sources in zip(*of_models, strict=True)]


def _hulls(searched: Searched[ConvexHull]) -> list[pointing_pb2.ConvexHullHypothesis]:
    judge = HullJudge(searched.points)
    hypotheses = []
    for found in searched.task.best(searched.found, searched.requested):
        judged = judge.judge(found.answer, searched.repair)
        hypothesis = pointing_pb2.ConvexHullHypothesis(
            point_indices=judged.corners,
            decoding=decoding_of(searched.task, found.hypothesis, searched.seed),
            valid=judged.valid,
            area=judged.area,
            exact=judged.exact,
            area_coverage=judged.area_coverage,
            repair_outcome=searched.outcome(judged.repaired),
            changed_corner_count=_changes(judged.repaired),
        )
        hypotheses.append(hypothesis)
    return hypotheses


def _triangulations(searched: Searched[Delaunay]) -> list[pointing_pb2.DelaunayTriangulationHypothesis]:
    judge = TriangulationJudge(searched.points)
    hypotheses = []
    for found in searched.task.best(searched.found, searched.requested):
        judged = judge.judge(found.answer, searched.repair)
        hypothesis = pointing_pb2.DelaunayTriangulationHypothesis(
            triangles=[pointing_pb2.Triangle(a=a, b=b, c=c) for a, b, c in judged.triangles],
            decoding=decoding_of(searched.task, found.hypothesis, searched.seed),
            valid=judged.valid,
            exact=judged.exact,
            triangle_coverage=judged.triangle_coverage,
            repair_outcome=searched.outcome(judged.repaired),
            changed_triangle_count=_changes(judged.repaired),
        )
        hypotheses.append(hypothesis)
    return hypotheses


def _tours(searched: Searched[Tour]) -> list[pointing_pb2.TourHypothesis]:
    judge = TourJudge(searched.points.points)
    hypotheses = []
    for found in searched.task.best(searched.found, searched.requested):
        judged = judge.judge(found.answer, searched.repair)
        hypothesis = pointing_pb2.TourHypothesis(
            point_indices=judged.order,
            decoding=decoding_of(searched.task, found.hypothesis, searched.seed),
            valid=judged.valid,
            length=judged.length,
            length_over_two_opt=judged.length_over_two_opt,
            repair_outcome=searched.outcome(judged.repaired),
            changed_edge_count=_changes(judged.repaired),
        )
        hypotheses.append(hypothesis)
    if searched.repair is Repair.FIX:
        hypotheses.sort(key=lambda hypothesis: hypothesis.length)
    return hypotheses


def _changes(repaired: Repaired | None) -> int:
    return 0 if repaired is None else repaired.changes
