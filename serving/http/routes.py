"""Which path is which call: the one table that the application and its description are both made of."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from beamstep.v1 import captioning_pb2, model_pb2, pointing_pb2, translation_pb2

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/webp")


@dataclass(frozen=True)
class Route:
    """One call over HTTP.

    Attributes:
        verb: GET or POST.
        path: as aiohttp and OpenAPI write it, parameters in braces.
        offered_by: the service that has to be deployed, of `SERVICE_TASKS`; "" for what every server has.
        method: the call's descriptor.
        takes_image: whether the body may be the bytes of an image.
    """

    verb: str
    path: str
    offered_by: str
    method: MethodDescriptor
    takes_image: bool = False

    @property
    def rpc(self) -> str:
        """Return the path of the call in gRPC."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def streams(self) -> bool:
        """Say whether the answer comes in parts."""
        return bool(self.method.server_streaming)

    @property
    def request_type(self) -> type[Message]:
        """Return the class of the request."""
        return message_factory.GetMessageClass(self.method.input_type)

    @property
    def response_type(self) -> type[Message]:
        """Return the class of the answer."""
        return message_factory.GetMessageClass(self.method.output_type)

    @property
    def path_fields(self) -> list[str]:
        """Return the request's fields that stand in the path."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    @property
    def query_fields(self) -> list[str]:
        """Return the request's fields that stand behind the question mark: of a GET all others."""
        if self.verb != "GET":
            return []
        return [field.name for field in self.method.input_type.fields if field.name not in self.path_fields]


def _method(module: Any, service: str, name: str) -> MethodDescriptor:
    method: MethodDescriptor = module.DESCRIPTOR.services_by_name[service].methods_by_name[name]
    return method


def _routes() -> tuple[Route, ...]:
    translation = (translation_pb2, "TranslationService")
    captioning = (captioning_pb2, "CaptioningService")
    pointing = (pointing_pb2, "PointingService")
    models = (model_pb2, "ModelService")
    return (
        Route("POST", "/v1/translate", "translation", _method(*translation, "TranslateText")),
        Route("POST", "/v1/translate:stream", "translation", _method(*translation, "StreamTranslateText")),
        Route("POST", "/v1/translate:score", "translation", _method(*translation, "ScoreTarget")),
        Route("POST", "/v1/caption", "captioning", _method(*captioning, "CaptionImage"), takes_image=True),
        Route("POST", "/v1/caption:stream", "captioning", _method(*captioning, "StreamCaptionImage"), takes_image=True),
        Route("POST", "/v1/caption:score", "captioning", _method(*captioning, "ScoreTarget")),
        Route("POST", "/v1/hull", "pointing", _method(*pointing, "FindConvexHull")),
        Route("POST", "/v1/delaunay", "pointing", _method(*pointing, "FindDelaunayTriangulation")),
        Route("POST", "/v1/tour", "pointing", _method(*pointing, "FindTour")),
        Route("POST", "/v1/pointing:score", "pointing", _method(*pointing, "ScoreTarget")),
        Route("GET", "/v1/models", "", _method(*models, "ListModels")),
        Route("GET", "/v1/models/{name}", "", _method(*models, "GetModel")),
    )


ROUTES: Final = _routes()


def offered_routes(services: Collection[str]) -> Sequence[Route]:
    """Return the calls of a server that offers these services."""
    return [route for route in ROUTES if not route.offered_by or route.offered_by in services]
