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
    __slots__ = ("reference", "task", "description", "precision", "execution_provider", "default_options", "limits", "quality", "provenance", "certificates", "default_symmetries")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SYMMETRIES_FIELD_NUMBER: _ClassVar[int]
    reference: _decoding_pb2.ModelReference
    task: Task
    description: str
    precision: str
    execution_provider: str
    default_options: _decoding_pb2.DecodingOptions
    limits: ModelLimits
    quality: _containers.RepeatedCompositeFieldContainer[QualityFigure]
    provenance: Provenance
    certificates: _containers.RepeatedCompositeFieldContainer[Certificate]
    default_symmetries: int
    def __init__(self, reference: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., task: _Optional[_Union[Task, str]] = ..., description: _Optional[str] = ..., precision: _Optional[str] = ..., execution_provider: _Optional[str] = ..., default_options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ..., limits: _Optional[_Union[ModelLimits, _Mapping]] = ..., quality: _Optional[_Iterable[_Union[QualityFigure, _Mapping]]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., certificates: _Optional[_Iterable[_Union[Certificate, _Mapping]]] = ..., default_symmetries: _Optional[int] = ...) -> None: ...

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

class Certificate(_message.Message):
    __slots__ = ("execution_provider", "precision", "passed", "faults", "create_time", "machine", "inputs", "tensor_shape_count", "tensor_error", "token_agreements", "metric_change", "neighbours_error", "padding_error", "speed_ratios")
    EXECUTION_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    TENSOR_SHAPE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TENSOR_ERROR_FIELD_NUMBER: _ClassVar[int]
    TOKEN_AGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    METRIC_CHANGE_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_ERROR_FIELD_NUMBER: _ClassVar[int]
    PADDING_ERROR_FIELD_NUMBER: _ClassVar[int]
    SPEED_RATIOS_FIELD_NUMBER: _ClassVar[int]
    execution_provider: str
    precision: str
    passed: bool
    faults: _containers.RepeatedScalarFieldContainer[str]
    create_time: str
    machine: str
    inputs: str
    tensor_shape_count: int
    tensor_error: float
    token_agreements: _containers.RepeatedCompositeFieldContainer[TokenAgreement]
    metric_change: MetricChange
    neighbours_error: float
    padding_error: float
    speed_ratios: _containers.RepeatedCompositeFieldContainer[SpeedRatio]
    def __init__(self, execution_provider: _Optional[str] = ..., precision: _Optional[str] = ..., passed: _Optional[bool] = ..., faults: _Optional[_Iterable[str]] = ..., create_time: _Optional[str] = ..., machine: _Optional[str] = ..., inputs: _Optional[str] = ..., tensor_shape_count: _Optional[int] = ..., tensor_error: _Optional[float] = ..., token_agreements: _Optional[_Iterable[_Union[TokenAgreement, _Mapping]]] = ..., metric_change: _Optional[_Union[MetricChange, _Mapping]] = ..., neighbours_error: _Optional[float] = ..., padding_error: _Optional[float] = ..., speed_ratios: _Optional[_Iterable[_Union[SpeedRatio, _Mapping]]] = ...) -> None: ...

class TokenAgreement(_message.Message):
    __slots__ = ("beam_size", "input_count", "identical_alone_share", "identical_in_batch_share", "largest_margin", "median_margin")
    BEAM_SIZE_FIELD_NUMBER: _ClassVar[int]
    INPUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    IDENTICAL_ALONE_SHARE_FIELD_NUMBER: _ClassVar[int]
    IDENTICAL_IN_BATCH_SHARE_FIELD_NUMBER: _ClassVar[int]
    LARGEST_MARGIN_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_MARGIN_FIELD_NUMBER: _ClassVar[int]
    beam_size: int
    input_count: int
    identical_alone_share: float
    identical_in_batch_share: float
    largest_margin: float
    median_margin: float
    def __init__(self, beam_size: _Optional[int] = ..., input_count: _Optional[int] = ..., identical_alone_share: _Optional[float] = ..., identical_in_batch_share: _Optional[float] = ..., largest_margin: _Optional[float] = ..., median_margin: _Optional[float] = ...) -> None: ...

class MetricChange(_message.Message):
    __slots__ = ("metric", "input_count", "pytorch_value", "served_value")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    INPUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    PYTORCH_VALUE_FIELD_NUMBER: _ClassVar[int]
    SERVED_VALUE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    input_count: int
    pytorch_value: float
    served_value: float
    def __init__(self, metric: _Optional[str] = ..., input_count: _Optional[int] = ..., pytorch_value: _Optional[float] = ..., served_value: _Optional[float] = ...) -> None: ...

class SpeedRatio(_message.Message):
    __slots__ = ("row_count", "source_count", "times_faster")
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TIMES_FASTER_FIELD_NUMBER: _ClassVar[int]
    row_count: int
    source_count: int
    times_faster: float
    def __init__(self, row_count: _Optional[int] = ..., source_count: _Optional[int] = ..., times_faster: _Optional[float] = ...) -> None: ...

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
