"""AdminService on the repository."""

from typing import Final

from google.protobuf.duration_pb2 import Duration

from beamstep.v1 import admin_pb2
from beamstep.v1.admin_pb2_grpc import AdminServiceServicer
from serving.errors import UnknownModel
from serving.repository.canary import CanaryFigures
from serving.repository.entry import Row, State
from serving.repository.repository import Repository
from serving.servicers.backend import Context

STATES: Final = {
    State.LOADING: admin_pb2.MODEL_STATE_LOADING,
    State.READY: admin_pb2.MODEL_STATE_READY,
    State.DRAINING: admin_pb2.MODEL_STATE_DRAINING,
    State.FAILED: admin_pb2.MODEL_STATE_FAILED,
    State.UNLOADED: admin_pb2.MODEL_STATE_UNLOADED,
}


class AdminServicer(AdminServiceServicer):
    """Loads, unloads and tries models."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def ListRepository(
        self,
        request: admin_pb2.ListRepositoryRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.ListRepositoryResponse:
        """List every version."""
        return admin_pb2.ListRepositoryResponse(models=map(_model, await self._repository.rows()))

    async def LoadModel(
        self,
        request: admin_pb2.LoadModelRequest,
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.LoadModelResponse:
        """Load a version."""
        row = await self._repository.load(request.name, request.version)
        return admin_pb2.LoadModelResponse(model=_model(row))

    async def UnloadModel(
        self,
        request: admin_pb2.UnloadModelRequest,
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.UnloadModelResponse:
        """Unload a version."""
        row = await self._repository.unload(request.name, request.version)
        return admin_pb2.UnloadModelResponse(model=_model(row))

    async def SetCanary(
        self,
        request: admin_pb2.SetCanaryRequest,
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.SetCanaryResponse:
        """Try a version."""
        figures = await self._repository.set_canary(request.name, request.version, request.share)
        return admin_pb2.SetCanaryResponse(canary=_canary(figures))

    async def ClearCanary(
        self,
        request: admin_pb2.ClearCanaryRequest,
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.ClearCanaryResponse:
        """End a trial."""
        figures = self._repository.canaries.clear(request.name)
        if figures is None:
            on_trial = ", ".join(sorted(self._repository.canaries.keys)) or "none"
            raise UnknownModel(f"no version of {request.name[:100]!r} is on trial; on trial: {on_trial}")
        return admin_pb2.ClearCanaryResponse(canary=_canary(figures))

    async def ListCanaries(
        self,
        request: admin_pb2.ListCanariesRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.ListCanariesResponse:
        """List the trials."""
        return admin_pb2.ListCanariesResponse(canaries=map(_canary, self._repository.canaries.snapshot()))


def _model(row: Row) -> admin_pb2.RepositoryModel:
    return admin_pb2.RepositoryModel(
        name=row.name, version=row.version, state=STATES[row.state], reason=row.reason, content_sha256=row.content
    )


def _canary(figures: CanaryFigures) -> admin_pb2.Canary:
    return admin_pb2.Canary(
        name=figures.name,
        version=figures.version,
        share=figures.share,
        chosen_count=figures.chosen,
        compared_count=figures.compared,
        dropped_count=figures.dropped,
        error_count=figures.errors,
        identical_count=figures.identical,
        same_token_count=figures.same_tokens,
        token_count=figures.tokens,
        primary_duration=_duration(figures.primary_s),
        canary_duration=_duration(figures.canary_s),
        last_error=figures.last_error,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
