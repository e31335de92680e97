"""The client for an event loop; beamstep/client.py says more, and has the blocking one."""

from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc

from beamstep.channel import DEFAULT_ADDRESS, DEFAULT_RETRY, DEFAULT_TIMEOUT_S, Endpoint, RetryPolicy
from beamstep.errors import error_of
from beamstep.requests import (
    Coordinates,
    Image,
    Indices,
    Triangles,
    captioning_request,
    captioning_score_request,
    captioning_stream_request,
    hull_request,
    hull_score_request,
    tour_request,
    tour_score_request,
    translation_request,
    translation_score_request,
    translation_stream_request,
    triangulation_request,
    triangulation_score_request,
)
from beamstep.v1 import captioning_pb2, model_pb2, pointing_pb2, translation_pb2
from beamstep.v1.captioning_pb2_grpc import CaptioningServiceStub
from beamstep.v1.decoding_pb2 import DecodingOptions
from beamstep.v1.model_pb2_grpc import ModelServiceStub
from beamstep.v1.pointing_pb2 import REPAIR_NONE, Repair
from beamstep.v1.pointing_pb2_grpc import PointingServiceStub
from beamstep.v1.translation_pb2_grpc import TranslationServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncClient:
    """The same for an event loop; made and used within one. See `Client`."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        secure: bool = False,
        root_certificates: Path | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
        certificate: Path | None = None,
        key: Path | None = None,
        token: str | None = None,
        token_in_the_clear: bool = False,
    ) -> None:
        """Prepare to call a server; see `Client`."""
        self._timeout_s = timeout_s
        endpoint = Endpoint(address, secure, root_certificates, retry, certificate, key, token, token_in_the_clear)
        self._metadata = endpoint.metadata
        self._channel = endpoint.open_async()
        self._translation = TranslationServiceStub(self._channel)
        self._captioning = CaptioningServiceStub(self._channel)
        self._pointing = PointingServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        await self._channel.close()

    async def translate(
        self, text: str, *, model: str = "", model_version: str = "", options: DecodingOptions | None = None
    ) -> translation_pb2.TranslateTextResponse:
        """Translate a text; hypotheses come best first."""
        return await self._call(
            self._translation.TranslateText, translation_request(text, model, model_version, options)
        )

    def stream_translate(
        self, text: str, *, model: str = "", model_version: str = "", options: DecodingOptions | None = None
    ) -> AsyncGenerator[translation_pb2.StreamTranslateTextResponse, None]:
        """Translate a text and say what is already certain while it goes; the last message has the whole answer.

        The call begins when the first message is asked for and may take the client's timeout until the last. Closing the iterator
        cancels it; leaving an `async for` does so a moment later, and at once within `contextlib.aclosing`.
        """
        request = translation_stream_request(text, model, model_version, options)
        return self._stream(self._translation.StreamTranslateText, request)

    async def score_translation(
        self,
        text: str,
        target: str,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
    ) -> translation_pb2.TranslationServiceScoreTargetResponse:
        """Say how likely a given translation is, token by token."""
        request = translation_score_request(text, target, model, model_version, options)
        return await self._call(self._translation.ScoreTarget, request)

    async def caption(
        self, image: Image, *, model: str = "", model_version: str = "", options: DecodingOptions | None = None
    ) -> captioning_pb2.CaptionImageResponse:
        """Say in words what an image shows; hypotheses come best first."""
        return await self._call(self._captioning.CaptionImage, captioning_request(image, model, model_version, options))

    def stream_caption(
        self, image: Image, *, model: str = "", model_version: str = "", options: DecodingOptions | None = None
    ) -> AsyncGenerator[captioning_pb2.StreamCaptionImageResponse, None]:
        """Caption an image and say what is already certain while it goes; see `stream_translate`."""
        request = captioning_stream_request(image, model, model_version, options)
        return self._stream(self._captioning.StreamCaptionImage, request)

    async def score_caption(
        self,
        image: Image,
        target: str,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
    ) -> captioning_pb2.CaptioningServiceScoreTargetResponse:
        """Say how likely a given caption is, token by token."""
        request = captioning_score_request(image, target, model, model_version, options)
        return await self._call(self._captioning.ScoreTarget, request)

    async def find_convex_hull(
        self,
        points: Coordinates,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
        repair: Repair = REPAIR_NONE,
        symmetries: int = 0,
    ) -> pointing_pb2.FindConvexHullResponse:
        """Find the convex hull of points, as indices into them."""
        request = hull_request(points, model, model_version, options, repair=repair, symmetries=symmetries)
        return await self._call(self._pointing.FindConvexHull, request)

    async def find_delaunay_triangulation(
        self,
        points: Coordinates,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
        repair: Repair = REPAIR_NONE,
        symmetries: int = 0,
    ) -> pointing_pb2.FindDelaunayTriangulationResponse:
        """Find the Delaunay triangulation of points, as triples of indices into them."""
        request = triangulation_request(points, model, model_version, options, repair=repair, symmetries=symmetries)
        return await self._call(self._pointing.FindDelaunayTriangulation, request)

    async def find_tour(
        self,
        points: Coordinates,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
        repair: Repair = REPAIR_NONE,
        symmetries: int = 0,
    ) -> pointing_pb2.FindTourResponse:
        """Find a short closed tour through points, as indices into them."""
        request = tour_request(points, model, model_version, options, repair=repair, symmetries=symmetries)
        return await self._call(self._pointing.FindTour, request)

    async def score_convex_hull(
        self,
        points: Coordinates,
        corners: Indices,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
    ) -> pointing_pb2.PointingServiceScoreTargetResponse:
        """Say how likely a hull is, its corners counter-clockwise from the leftmost point."""
        request = hull_score_request(points, corners, model, model_version, options)
        return await self._call(self._pointing.ScoreTarget, request)

    async def score_delaunay_triangulation(
        self,
        points: Coordinates,
        triangles: Triangles,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
    ) -> pointing_pb2.PointingServiceScoreTargetResponse:
        """Say how likely a triangulation is, its triangles in the order given."""
        request = triangulation_score_request(points, triangles, model, model_version, options)
        return await self._call(self._pointing.ScoreTarget, request)

    async def score_tour(
        self,
        points: Coordinates,
        order: Indices,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
    ) -> pointing_pb2.PointingServiceScoreTargetResponse:
        """Say how likely a tour is, every point named once in the order of visit."""
        request = tour_score_request(points, order, model, model_version, options)
        return await self._call(self._pointing.ScoreTarget, request)

    async def list_models(self) -> model_pb2.ListModelsResponse:
        """List the models the server has loaded."""
        return await self._call(self._models.ListModels, model_pb2.ListModelsRequest())

    async def get_model(self, name: str, version: str = "") -> model_pb2.GetModelResponse:
        """Describe one model, by default its latest version."""
        return await self._call(self._models.GetModel, model_pb2.GetModelRequest(name=name, version=version))

    async def _call(self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request) -> Response:
        try:
            return await method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None

    async def _stream(
        self, method: "grpc.aio.UnaryStreamMultiCallable[Request, Response]", request: Request
    ) -> AsyncGenerator[Response, None]:
        call = method(request, timeout=self._timeout_s, metadata=self._metadata)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None
        finally:
            call.cancel()  # means nothing to a call that is over
