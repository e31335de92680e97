"""ModelService: what is loaded, straight from the manifests."""

from typing import Final

from beamstep.v1 import decoding_pb2, model_pb2
from beamstep.v1.model_pb2_grpc import ModelServiceServicer
from serving.errors import InvalidRequest
from serving.manifest import TEXT_TARGETS, DecodingDefaults, Manifest, Precision, TaskName
from serving.precision import choose_precision
from serving.registry import Registry
from serving.servicers.backend import Context
from serving.servicers.certificates import certificate_message
from serving.servicers.messages import reference_of
from serving.tasks.base import Task

TASKS: Final[dict[TaskName, model_pb2.Task]] = {
    "translation": model_pb2.TASK_TRANSLATION,
    "captioning": model_pb2.TASK_CAPTIONING,
    "convex_hull": model_pb2.TASK_CONVEX_HULL,
    "delaunay": model_pb2.TASK_DELAUNAY,
    "tour": model_pb2.TASK_TOUR,
}


class ModelServicer(ModelServiceServicer):
    """Describes the loaded models."""

    def __init__(self, registry: Registry, provider: str, precision: Precision | None = None) -> None:
        """Remember what to describe, and the execution provider and precision that sessions were asked to run in."""
        self._registry = registry
        self._provider = provider
        self._precision = precision

    async def ListModels(
        self,
        request: model_pb2.ListModelsRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> model_pb2.ListModelsResponse:
        """List all models."""
        return model_pb2.ListModelsResponse(models=[self._describe(task) for task in self._registry])

    async def GetModel(
        self,
        request: model_pb2.GetModelRequest,
        context: Context,  # noqa: ARG002
    ) -> model_pb2.GetModelResponse:
        """Describe one model with its manifest."""
        if not request.name:
            raise InvalidRequest("name", "empty", "a name that ListModels gives")
        task = self._registry.get(request.name, request.version)
        return model_pb2.GetModelResponse(model=self._describe(task), manifest_json=task.bundle.manifest_json)

    def _describe(self, task: Task) -> model_pb2.Model:
        manifest = task.bundle.manifest
        limits = manifest.limits
        return model_pb2.Model(
            reference=reference_of(task.bundle),
            task=TASKS[manifest.task],
            description=manifest.description,
            # The server has refused at load what may not be served.
            precision=choose_precision(manifest, self._provider, self._precision, allow_uncertified=True),
            execution_provider=self._provider,
            default_options=_options(manifest.defaults),
            limits=model_pb2.ModelLimits(
                beam_size=limits.beam_size, source_length=limits.source_length, max_length=limits.max_length
            ),
            quality=[model_pb2.QualityFigure(**figure.model_dump()) for figure in manifest.quality],
            provenance=_provenance(manifest),
            certificates=map(certificate_message, manifest.certificates),
            default_symmetries=0 if manifest.task in TEXT_TARGETS else manifest.defaults.symmetries,
        )


def _options(defaults: DecodingDefaults) -> decoding_pb2.DecodingOptions:
    """Return the defaults; max_length only where it is the same for every source."""
    rule = defaults.max_length
    return decoding_pb2.DecodingOptions(
        beam_size=defaults.beam_size,
        hypothesis_count=1,
        length_penalty=defaults.length_penalty,
        patience=defaults.patience,
        min_length=defaults.min_length,
        max_length=None if rule.per_source else rule.of(0),
    )


def _provenance(manifest: Manifest) -> model_pb2.Provenance:
    origin = manifest.provenance
    return model_pb2.Provenance(
        git_commit=origin.git_commit,
        recipe=origin.recipe,
        seed=origin.seed,
        data_sources=[model_pb2.DataSource(name=data.name, licence=data.licence) for data in origin.data_sources],
        tool_versions=origin.tool_versions,
    )
