"""The client: one method a call, blocking or async, from plain Python values to the answers of beamstep/v1.

    with Client("localhost:50051") as client:
        print(client.translate("A dog runs.").hypotheses[0].text)

Answers are the protos' own messages; protos/beamstep/v1 says what each field means.
"""

from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc

from beamstep.admin import Admin
from beamstep.async_client import AsyncClient
from beamstep.channel import DEFAULT_ADDRESS, DEFAULT_RETRY, DEFAULT_TIMEOUT_S, Endpoint, RetryPolicy
from beamstep.errors import ServiceError, error_of
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
from beamstep.v1.admin_pb2_grpc import AdminServiceStub
from beamstep.v1.captioning_pb2_grpc import CaptioningServiceStub
from beamstep.v1.decoding_pb2 import DecodingOptions
from beamstep.v1.model_pb2_grpc import ModelServiceStub
from beamstep.v1.pointing_pb2 import REPAIR_FIX, REPAIR_NONE, Repair
from beamstep.v1.pointing_pb2_grpc import PointingServiceStub
from beamstep.v1.translation_pb2_grpc import TranslationServiceStub

__all__ = ["REPAIR_FIX", "REPAIR_NONE", "AsyncClient", "Client", "DecodingOptions", "RetryPolicy", "ServiceError"]

Request = TypeVar("Request")
Response = TypeVar("Response")


class Client:
    """A blocking client; safe to use from several threads.

    Every call raises a `beamstep.errors.ServiceError` when it fails; `options` left out takes the model's defaults,
    and `model` left out the server's first for the task.
    """

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
        """Prepare to call a server; nothing connects before the first call.

        Args:
            address: `host:port`.
            timeout_s: how long one call may take, retries included.
            secure: whether to speak TLS.
            root_certificates: a PEM file of the authorities to trust, with `secure`; None takes gRPC's own.
            retry: what to do about UNAVAILABLE.
            certificate: a PEM file of a certificate to show a server that asks for one, with `secure`.
            key: a PEM file of its private key.
            token: an API token, sent with every call. Without TLS it goes to this machine alone.
            token_in_the_clear: lets it go to others too, for anybody on the way to read.

        Raises:
            ValueError: these do not go together.
            OSError: a file cannot be read.
        """
        self._timeout_s = timeout_s
        endpoint = Endpoint(address, secure, root_certificates, retry, certificate, key, token, token_in_the_clear)
        self._metadata = endpoint.metadata
        self._channel = endpoint.open()
        self._translation = TranslationServiceStub(self._channel)
        self._captioning = CaptioningServiceStub(self._channel)
        self._pointing = PointingServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        self._channel.close()

    def translate(
        self, text: str, *, model: str = "", model_version: str = "", options: DecodingOptions | None = None
    ) -> translation_pb2.TranslateTextResponse:
        """Translate a text; hypotheses come best first."""
        return self._call(self._translation.TranslateText, translation_request(text, model, model_version, options))

    def stream_translate(
        self, text: str, *, model: str = "", model_version: str = "", options: DecodingOptions | None = None
    ) -> Generator[translation_pb2.StreamTranslateTextResponse, None, None]:
        """Translate a text and say what is already certain while it goes; the last message has the whole answer.

        The call begins when the first message is asked for and may take the client's timeout until the last. Closing the iterator,
        as leaving a `for` does, cancels it.
        """
        request = translation_stream_request(text, model, model_version, options)
        return self._stream(self._translation.StreamTranslateText, request)

    def score_translation(
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
        return self._call(self._translation.ScoreTarget, request)

    def caption(
        self, image: Image, *, model: str = "", model_version: str = "", options: DecodingOptions | None = None
    ) -> captioning_pb2.CaptionImageResponse:
        """Say in words what an image shows; hypotheses come best first."""
        return self._call(self._captioning.CaptionImage, captioning_request(image, model, model_version, options))

    def stream_caption(
        self, image: Image, *, model: str = "", model_version: str = "", options: DecodingOptions | None = None
    ) -> Generator[captioning_pb2.StreamCaptionImageResponse, None, None]:
        """Caption an image and say what is already certain while it goes; see `stream_translate`."""
        request = captioning_stream_request(image, model, model_version, options)
        return self._stream(self._captioning.StreamCaptionImage, request)

    def score_caption(
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
        return self._call(self._captioning.ScoreTarget, request)

    def find_convex_hull(
        self,
        points: Coordinates,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
        repair: Repair = REPAIR_NONE,
        symmetries: int = 0,
    ) -> pointing_pb2.FindConvexHullResponse:
        """Find the convex hull of points, as indices into them.

        Args:
            points: as (x, y).
            model: the bundle's name; here and below what is left out is the server's or the model's default.
            model_version: the bundle's.
            options: how to search.
            repair: REPAIR_FIX has the server put a wrong answer right; what it did stands beside the answer.
            symmetries: in how many of the eight symmetries of the square to decode, of which the best is answered.
        """
        request = hull_request(points, model, model_version, options, repair=repair, symmetries=symmetries)
        return self._call(self._pointing.FindConvexHull, request)

    def find_delaunay_triangulation(
        self,
        points: Coordinates,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
        repair: Repair = REPAIR_NONE,
        symmetries: int = 0,
    ) -> pointing_pb2.FindDelaunayTriangulationResponse:
        """Find the Delaunay triangulation of points, as triples of indices into them; see `find_convex_hull`."""
        request = triangulation_request(points, model, model_version, options, repair=repair, symmetries=symmetries)
        return self._call(self._pointing.FindDelaunayTriangulation, request)

    def find_tour(
        self,
        points: Coordinates,
        *,
        model: str = "",
        model_version: str = "",
        options: DecodingOptions | None = None,
        repair: Repair = REPAIR_NONE,
        symmetries: int = 0,
    ) -> pointing_pb2.FindTourResponse:
        """Find a short closed tour through points, as indices into them; see `find_convex_hull`."""
        request = tour_request(points, model, model_version, options, repair=repair, symmetries=symmetries)
        return self._call(self._pointing.FindTour, request)

    def score_convex_hull(
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
        return self._call(self._pointing.ScoreTarget, request)

    def score_delaunay_triangulation(
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
        return self._call(self._pointing.ScoreTarget, request)

    def score_tour(
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
        return self._call(self._pointing.ScoreTarget, request)

    def list_models(self) -> model_pb2.ListModelsResponse:
        """List the models the server has loaded."""
        return self._call(self._models.ListModels, model_pb2.ListModelsRequest())

    def get_model(self, name: str, version: str = "") -> model_pb2.GetModelResponse:
        """Describe one model, by default its latest version."""
        return self._call(self._models.GetModel, model_pb2.GetModelRequest(name=name, version=version))

    @property
    def admin(self) -> Admin:
        """Return the calls of AdminService, which a server offers only when it is told to."""
        return Admin(AdminServiceStub(self._channel), self._call)

    def _call(self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request) -> Response:
        try:
            return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error) from None

    def _stream(
        self, method: "grpc.UnaryStreamMultiCallable[Request, Response]", request: Request
    ) -> Generator[Response, None, None]:
        call = method(request, timeout=self._timeout_s, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise error_of(error) from None
        finally:
            call.cancel()  # means nothing to a call that is over
