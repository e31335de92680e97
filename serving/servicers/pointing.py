"""PointingService on the engine; every answer is checked before it is sent."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from beamstep.v1 import pointing_pb2
from beamstep.v1.pointing_pb2_grpc import PointingServiceServicer
from serving.decoding.hypothesis import Hypothesis
from serving.engine import Decoded
from serving.servicers.backend import Backend, Context
from serving.servicers.messages import decoding_of, reference_of, requested_options, timings_of
from serving.tasks import geometry
from serving.tasks.pointing import ConvexHull, Delaunay, Pointing, PointSource, Tour

AnyPointing = TypeVar("AnyPointing", bound=Pointing)
AnyHypothesis = TypeVar("AnyHypothesis")
Request = (
    pointing_pb2.FindConvexHullRequest | pointing_pb2.FindDelaunayTriangulationRequest | pointing_pb2.FindTourRequest
)


class PointingServicer(PointingServiceServicer):
    """Points at hulls, triangulations and tours."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def FindConvexHull(
        self, request: pointing_pb2.FindConvexHullRequest, context: Context
    ) -> pointing_pb2.FindConvexHullResponse:
        """Find a convex hull."""
        arrived = time.monotonic()
        task, source, decoded = await self._search(ConvexHull, request, context)
        return pointing_pb2.FindConvexHullResponse(
            hypotheses=await _checked(_hull, task, source.points, decoded),
            model=reference_of(task.bundle),
            timings=timings_of(decoded, arrived),
        )

    async def FindDelaunayTriangulation(
        self, request: pointing_pb2.FindDelaunayTriangulationRequest, context: Context
    ) -> pointing_pb2.FindDelaunayTriangulationResponse:
        """Find a Delaunay triangulation."""
        arrived = time.monotonic()
        task, source, decoded = await self._search(Delaunay, request, context)
        return pointing_pb2.FindDelaunayTriangulationResponse(
            hypotheses=await _checked(_triangulation, task, source.points, decoded),
            model=reference_of(task.bundle),
            timings=timings_of(decoded, arrived),
        )

    async def FindTour(self, request: pointing_pb2.FindTourRequest, context: Context) -> pointing_pb2.FindTourResponse:
        """Find a tour."""
        arrived = time.monotonic()
        task, source, decoded = await self._search(Tour, request, context)
        return pointing_pb2.FindTourResponse(
            hypotheses=await _checked(_tour, task, source.points, decoded),
            model=reference_of(task.bundle),
            timings=timings_of(decoded, arrived),
        )

    async def _search(
        self, kind: type[AnyPointing], request: Request, context: Context
    ) -> tuple[AnyPointing, PointSource, Decoded]:
        task = self._backend.registry.find(kind, request.model, request.model_version)
        task.check_count(len(request.points))  # a message has room for a million, which take a while to unpack
        source = task.source([(point.x, point.y) for point in request.points])
        options = task.options(requested_options(request), source)
        return task, source, await self._backend.decode(task, source, options, context)


async def _checked(
    check: Callable[[AnyPointing, geometry.Points, Hypothesis], AnyHypothesis],
    task: AnyPointing,
    points: geometry.Points,
    decoded: Decoded,
) -> list[AnyHypothesis]:
    """Check every hypothesis, beside the event loop: exact signs of 200 points in a row take a good part of a second."""
    return await asyncio.to_thread(lambda: [check(task, points, found) for found in decoded.hypotheses])


def _hull(task: ConvexHull, points: geometry.Points, found: Hypothesis) -> pointing_pb2.ConvexHullHypothesis:
    corners = task.indices(found)
    valid = geometry.is_simple_polygon(points, corners)
    return pointing_pb2.ConvexHullHypothesis(
        point_indices=corners,
        decoding=decoding_of(task, found),
        valid=valid,
        area=geometry.polygon_area(points, corners) if valid else 0.0,
    )


def _triangulation(
    task: Delaunay, points: geometry.Points, found: Hypothesis
) -> pointing_pb2.DelaunayTriangulationHypothesis:
    triangles = task.triangles(found)
    return pointing_pb2.DelaunayTriangulationHypothesis(
        triangles=[pointing_pb2.Triangle(a=a, b=b, c=c) for a, b, c in triangles],
        decoding=decoding_of(task, found),
        valid=geometry.is_triangulation(points, triangles),
    )


def _tour(task: Tour, points: geometry.Points, found: Hypothesis) -> pointing_pb2.TourHypothesis:
    order = task.indices(found)
    valid = geometry.is_permutation(order, len(points))
    return pointing_pb2.TourHypothesis(
        point_indices=order,
        decoding=decoding_of(task, found),
        valid=valid,
        length=geometry.tour_length(points, order) if valid else 0.0,
    )
