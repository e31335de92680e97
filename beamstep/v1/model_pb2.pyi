from beamstep.v1 import decoding_pb2 as _decoding_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    TASK_TRANSLATION: _ClassVar[Task]
    TASK_CAPTIONING: _ClassVar[Task]
    TASK_CONVEX_HULL: _ClassVar[Task]
    TASK_DELAUNAY: _ClassVar[Task]
    TASK_TOUR: _ClassVar[Task]
TASK_UNSPECIFIED: Task
TASK_TRANSLATION: Task
TASK_CAPTIONING: Task
TASK_CONVEX_HULL: Task
TASK_DELAUNAY: Task
TASK_TOUR: Task

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "manifest_json")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_JSON_FIELD_NUMBER: _ClassVar[int]
    model: Model
    manifest_json: str
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., manifest_json: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("reference", "task", "description", "precision", "execution_provider", "default_options", "limits", "quality", "provenance")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    reference: _decoding_pb2.ModelReference
    task: Task
    description: str
    precision: str
    execution_provider: str
    default_options: _decoding_pb2.DecodingOptions
    limits: ModelLimits
    quality: _containers.RepeatedCompositeFieldContainer[QualityFigure]
    provenance: Provenance
    def __init__(self, reference: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., task: _Optional[_Union[Task, str]] = ..., description: _Optional[str] = ..., precision: _Optional[str] = ..., execution_provider: _Optional[str] = ..., default_options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ..., limits: _Optional[_Union[ModelLimits, _Mapping]] = ..., quality: _Optional[_Iterable[_Union[QualityFigure, _Mapping]]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ...) -> None: ...

class ModelLimits(_message.Message):
    __slots__ = ("beam_size", "source_length", "max_length")
    BEAM_SIZE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    beam_size: int
    source_length: int
    max_length: int
    def __init__(self, beam_size: _Optional[int] = ..., source_length: _Optional[int] = ..., max_length: _Optional[int] = ...) -> None: ...

class QualityFigure(_message.Message):
    __slots__ = ("metric", "value", "data", "command")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    metric: str
    value: float
    data: str
    command: str
    def __init__(self, metric: _Optional[str] = ..., value: _Optional[float] = ..., data: _Optional[str] = ..., command: _Optional[str] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("git_commit", "recipe", "seed", "data_sources", "tool_versions")
    GIT_COMMIT_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DATA_SOURCES_FIELD_NUMBER: _ClassVar[int]
    TOOL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    git_commit: str
    recipe: str
    seed: int
    data_sources: _containers.RepeatedCompositeFieldContainer[DataSource]
    tool_versions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, git_commit: _Optional[str] = ..., recipe: _Optional[str] = ..., seed: _Optional[int] = ..., data_sources: _Optional[_Iterable[_Union[DataSource, _Mapping]]] = ..., tool_versions: _Optional[_Iterable[str]] = ...) -> None: ...

class DataSource(_message.Message):
    __slots__ = ("name", "licence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    licence: str
    def __init__(self, name: _Optional[str] = ..., licence: _Optional[str] = ...) -> None: ...
