"""GRPCInferenceService, the KServe v2 protocol: every source of a request becomes a typed request, so that both answer alike."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

from google.protobuf.message import Message

from serving.errors import InvalidRequest, UnknownModel
from serving.kserve.outputs import chosen_outputs, write_outputs
from serving.kserve.parameters import apply_parameters
from serving.kserve.signatures import SIGNATURES
from serving.kserve.sources import at_row
from serving.kserve.statistics import Statistics
from serving.kserve.tensors import BYTES, read_inputs
from serving.kserve.v2 import grpc_inference_pb2 as kserve_pb2
from serving.kserve.v2.grpc_inference_pb2_grpc import GRPCInferenceServiceServicer
from serving.manifest import TaskName
from serving.servicers.backend import Backend, Context, together
from serving.servicers.captioning import CaptioningServicer
from serving.servicers.pointing import PointingServicer
from serving.servicers.translation import TranslationServicer
from serving.tasks.base import Task
from serving.tasks.pointing import Pointing

MOST_SOURCES: Final = 64
"""Most sources of one request; fewer where the queue is shorter."""
SERVER_NAME: Final = "beamstep"
PLATFORM: Final = "beamstep_onnx"
EXTENSIONS: Final = ("statistics",)
LOADING: Final = "the server is loading its models or stopping"

Answer = Callable[[Any, Context], Awaitable[Any]]
"""A typed service's call."""


def typed_answers(
    translation: TranslationServicer | None, captioning: CaptioningServicer | None, pointing: PointingServicer | None
) -> dict[TaskName, Answer]:
    """Return the typed call that answers for each task of the services that are offered."""
    answers: dict[TaskName, Answer] = {}
    if translation is not None:
        answers["translation"] = translation.TranslateText
    if captioning is not None:
        answers["captioning"] = captioning.CaptionImage
    if pointing is not None:
        answers["convex_hull"] = pointing.FindConvexHull
        answers["delaunay"] = pointing.FindDelaunayTriangulation
        answers["tour"] = pointing.FindTour
    return answers


class KserveServicer(GRPCInferenceServiceServicer):
    """Answers in tensors."""

    def __init__(
        self, backend: Backend, answers: Mapping[TaskName, Answer], statistics: Statistics, waiting_requests: int
    ) -> None:
        """Remember who answers.

        Args:
            backend: the registry, and whether requests are let through.
            answers: the typed call for every task that a loaded model can have.
            statistics: what the models have done.
            waiting_requests: places of a model's queue; a request of more searches could never be taken.
        """
        self._backend = backend
        self._answers = answers
        self._statistics = statistics
        self._waiting_requests = waiting_requests

    async def ServerLive(
        self,
        request: kserve_pb2.ServerLiveRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> kserve_pb2.ServerLiveResponse:
        """Say that the process answers."""
        return kserve_pb2.ServerLiveResponse(live=True)

    async def ServerReady(
        self,
        request: kserve_pb2.ServerReadyRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> kserve_pb2.ServerReadyResponse:
        """Say whether requests are let through."""
        return kserve_pb2.ServerReadyResponse(ready=self._backend.ready)

    async def ModelReady(
        self,
        request: kserve_pb2.ModelReadyRequest,
        context: Context,  # noqa: ARG002
    ) -> kserve_pb2.ModelReadyResponse:
        """Say whether requests for one model are let through."""
        try:
            self._find("name", request.name, request.version)
        except UnknownModel:
            return kserve_pb2.ModelReadyResponse(ready=False)
        return kserve_pb2.ModelReadyResponse(ready=self._backend.ready)

    async def ServerMetadata(
        self,
        request: kserve_pb2.ServerMetadataRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> kserve_pb2.ServerMetadataResponse:
        """Say what server this is."""
        return kserve_pb2.ServerMetadataResponse(name=SERVER_NAME, version=version(SERVER_NAME), extensions=EXTENSIONS)

    async def ModelMetadata(
        self,
        request: kserve_pb2.ModelMetadataRequest,
        context: Context,  # noqa: ARG002
    ) -> kserve_pb2.ModelMetadataResponse:
        """Say which tensors a model takes and gives."""
        manifest = self._find("name", request.name, request.version).bundle.manifest
        signature = SIGNATURES[manifest.task]
        every = [task.bundle.manifest for task in self._backend.registry]
        response = kserve_pb2.ModelMetadataResponse(
            name=manifest.name,
            versions=[one.version for one in every if one.name == manifest.name],
            platform=PLATFORM,
        )
        for taken in signature.inputs:
            response.inputs.add(name=taken.name, datatype=taken.datatypes[0], shape=taken.shapes[0])
        for given in signature.outputs:
            response.outputs.add(name=given.name, datatype=given.datatype, shape=given.shape)
        return response

    async def ModelConfig(
        self,
        request: kserve_pb2.ModelConfigRequest,
        context: Context,  # noqa: ARG002
    ) -> kserve_pb2.ModelConfigResponse:
        """Say which tensors a model takes and gives, in the words of Triton's configurations."""
        manifest = self._find("name", request.name, request.version).bundle.manifest
        signature = SIGNATURES[manifest.task]
        config = kserve_pb2.ModelConfig(name=manifest.name, platform=PLATFORM)
        for taken in signature.inputs:
            data_type, optional = _data_type(taken.datatypes[0]), not taken.required
            config.input.add(name=taken.name, data_type=data_type, dims=taken.shapes[0], optional=optional)
        for given in signature.outputs:
            config.output.add(name=given.name, data_type=_data_type(given.datatype), dims=given.shape)
        return kserve_pb2.ModelConfigResponse(config=config)

    async def ModelInfer(
        self, request: kserve_pb2.ModelInferRequest, context: Context
    ) -> kserve_pb2.ModelInferResponse:
        """Answer all sources of a request together; when one fails, none is answered."""
        task = self._find("model_name", request.model_name, request.model_version)
        manifest = task.bundle.manifest
        signature = SIGNATURES[manifest.task]
        outputs = chosen_outputs(request, signature.outputs)
        asked = signature.request(model=manifest.name, model_version=manifest.version)
        apply_parameters(request.parameters, asked)
        tensors = read_inputs(request, signature.inputs, self._most_sources(task, asked))
        answer = self._answers[manifest.task]

        async def answer_one(row: int, payload: Mapping[str, Any]) -> Any:
            one = signature.request(**payload)
            one.MergeFrom(asked)
            with at_row(row):
                return await answer(one, context)

        payloads = signature.sources(tensors, task)
        answers = await together([answer_one(row, payload) for row, payload in enumerate(payloads)])
        response = kserve_pb2.ModelInferResponse(
            model_name=manifest.name, model_version=manifest.version, id=request.id
        )
        write_outputs(response, outputs, answers)
        return response

    async def ModelStatistics(
        self,
        request: kserve_pb2.ModelStatisticsRequest,
        context: Context,  # noqa: ARG002
    ) -> kserve_pb2.ModelStatisticsResponse:
        """Say what models have done."""
        if request.name:
            self._find("name", request.name, request.version)  # there must be one
        response = kserve_pb2.ModelStatisticsResponse()
        for task in self._backend.registry:
            manifest = task.bundle.manifest
            if request.name in {"", manifest.name} and request.version in {"", manifest.version}:
                work = self._statistics.of(task.bundle.key)
                work.name, work.version = manifest.name, manifest.version
                response.model_stats.append(work)
        return response

    async def RepositoryIndex(
        self,
        request: kserve_pb2.RepositoryIndexRequest,
        context: Context,  # noqa: ARG002
    ) -> kserve_pb2.RepositoryIndexResponse:
        """List the models."""
        ready = self._backend.ready
        response = kserve_pb2.RepositoryIndexResponse()
        if request.ready and not ready:
            return response
        state, reason = ("READY", "") if ready else ("UNAVAILABLE", LOADING)
        for task in self._backend.registry:
            manifest = task.bundle.manifest
            response.models.add(name=manifest.name, version=manifest.version, state=state, reason=reason)
        return response

    def _find(self, field: str, name: str, wanted: str) -> Task:
        if not name:
            raise InvalidRequest(field, "empty", "a name that RepositoryIndex gives")
        return self._backend.registry.get(name, wanted)

    def _most_sources(self, task: Task, asked: Message) -> int:
        """Return how many sources can be searched together: each of its symmetries takes a place in the queue."""
        searches = 1
        if isinstance(task, Pointing):
            given: int = asked.symmetries  # type: ignore[attr-defined]
            searches = given if given > 0 else task.bundle.manifest.defaults.symmetries
        return max(1, min(MOST_SOURCES, self._waiting_requests // searches))


def _data_type(datatype: str) -> int:
    """Return what Triton's configurations call a type of the protocol."""
    return kserve_pb2.DataType.Value("TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}")
