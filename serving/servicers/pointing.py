"""PointingService on the engine; every answer is checked before it is sent."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from beamstep.v1 import decoding_pb2, model_pb2, pointing_pb2
from beamstep.v1.pointing_pb2_grpc import PointingServiceServicer
from serving.decoding.hypothesis import Hypothesis
from serving.errors import InvalidRequest
from serving.request import Decoded
from serving.servicers.backend import Asked, Backend, Context, Models, check_no_deadline_rule, returns_best
from serving.servicers.messages import decoding_of, reference_of, requested_options, timings_of
from serving.tasks import geometry
from serving.tasks.pointing import ConvexHull, Delaunay, Pointing, PointSource, Tour

AnyPointing = TypeVar("AnyPointing", bound=Pointing)
AnyHypothesis = TypeVar("AnyHypothesis")
Request = (
    pointing_pb2.FindConvexHullRequest | pointing_pb2.FindDelaunayTriangulationRequest | pointing_pb2.FindTourRequest
)
SCORED: Final[Mapping[int, type[Pointing]]] = {
    model_pb2.TASK_CONVEX_HULL: ConvexHull,
    model_pb2.TASK_DELAUNAY: Delaunay,
    model_pb2.TASK_TOUR: Tour,
}


class PointingServicer(PointingServiceServicer):
    """Points at hulls, triangulations and tours."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def FindConvexHull(
        self, request: pointing_pb2.FindConvexHullRequest, context: Context
    ) -> pointing_pb2.FindConvexHullResponse:
        """Find a convex hull."""
        arrived = time.monotonic()
        asked, decoded = await self._search(ConvexHull, request, context)
        return pointing_pb2.FindConvexHullResponse(
            hypotheses=await _checked(_hull, asked, decoded),
            model=reference_of(asked.task.bundle),
            timings=timings_of(decoded, arrived),
            deadline_reached=decoded.deadline_reached,
        )

    async def FindDelaunayTriangulation(
        self, request: pointing_pb2.FindDelaunayTriangulationRequest, context: Context
    ) -> pointing_pb2.FindDelaunayTriangulationResponse:
        """Find a Delaunay triangulation."""
        arrived = time.monotonic()
        asked, decoded = await self._search(Delaunay, request, context)
        return pointing_pb2.FindDelaunayTriangulationResponse(
            hypotheses=await _checked(_triangulation, asked, decoded),
            model=reference_of(asked.task.bundle),
            timings=timings_of(decoded, arrived),
            deadline_reached=decoded.deadline_reached,
        )

    async def FindTour(self, request: pointing_pb2.FindTourRequest, context: Context) -> pointing_pb2.FindTourResponse:
        """Find a tour."""
        arrived = time.monotonic()
        asked, decoded = await self._search(Tour, request, context)
        return pointing_pb2.FindTourResponse(
            hypotheses=await _checked(_tour, asked, decoded),
            model=reference_of(asked.task.bundle),
            timings=timings_of(decoded, arrived),
            deadline_reached=decoded.deadline_reached,
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
        sources = _sources(models, request.points)
        target = models.first.target("point_indices", request.point_indices, sources[0])
        plan = models.first.plan_score(requested_options(request), sources[0], target)
        asked = Asked(models, sources, plan)
        decoded = await self._backend.decode(asked, context)
        return pointing_pb2.PointingServiceScoreTargetResponse(
            decoding=decoding_of(asked.task, decoded.hypotheses[0]),
            model=reference_of(asked.task.bundle),
            timings=timings_of(decoded, arrived),
        )

    async def _search(
        self, kind: type[AnyPointing], request: Request, context: Context
    ) -> tuple[Asked[AnyPointing, PointSource], Decoded]:
        models = self._backend.models(kind, request)
        sources = _sources(models, request.points)
        plan = models.first.plan(requested_options(request), sources[0])
        asked = Asked(models, sources, plan, returns_best(request))
        return asked, await self._backend.decode(asked, context)


def _sources(models: Models[AnyPointing], points: Sequence[pointing_pb2.Point]) -> list[PointSource]:
    """Return the points as each model reads them."""
    for task in models.tasks:
        task.check_count(len(points))  # a message has room for a million, which take a while to unpack
    coordinates = [(point.x, point.y) for point in points]
    return [task.source(coordinates) for task in models.tasks]


async def _checked(
    check: Callable[[AnyPointing, geometry.Points, Hypothesis, decoding_pb2.Decoding], AnyHypothesis],
    asked: Asked[AnyPointing, PointSource],
    decoded: Decoded,
) -> list[AnyHypothesis]:
    """Check every hypothesis, beside the event loop: exact signs of 200 points in a row take a good part of a second."""
    task, points = asked.task, asked.source.points
    return await asyncio.to_thread(
        lambda: [check(task, points, found, decoding_of(task, found, asked.seed)) for found in decoded.hypotheses]
    )


def _hull(
    task: ConvexHull, points: geometry.Points, found: Hypothesis, decoding: decoding_pb2.Decoding
) -> pointing_pb2.ConvexHullHypothesis:
    corners = task.indices(found)
    valid = geometry.is_simple_polygon(points, corners)
    return pointing_pb2.ConvexHullHypothesis(
        point_indices=corners,
        decoding=decoding,
        valid=valid,
        area=geometry.polygon_area(points, corners) if valid else 0.0,
    )


def _triangulation(
    task: Delaunay, points: geometry.Points, found: Hypothesis, decoding: decoding_pb2.Decoding
) -> pointing_pb2.DelaunayTriangulationHypothesis:
    triangles = task.triangles(found)
    return pointing_pb2.DelaunayTriangulationHypothesis(
        triangles=[pointing_pb2.Triangle(a=a, b=b, c=c) for a, b, c in triangles],
        decoding=decoding,
        valid=geometry.is_triangulation(points, triangles),
    )


def _tour(
    task: Tour, points: geometry.Points, found: Hypothesis, decoding: decoding_pb2.Decoding
) -> pointing_pb2.TourHypothesis:
    order = task.indices(found)
    valid = geometry.is_permutation(order, len(points))
    return pointing_pb2.TourHypothesis(
        point_indices=order,
        decoding=decoding,
        valid=valid,
        length=geometry.tour_length(points, order) if valid else 0.0,
    )
