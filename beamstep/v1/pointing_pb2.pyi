from beamstep.v1 import decoding_pb2 as _decoding_pb2
from beamstep.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Repair(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPAIR_UNSPECIFIED: _ClassVar[Repair]
    REPAIR_NONE: _ClassVar[Repair]
    REPAIR_FIX: _ClassVar[Repair]

class RepairOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPAIR_OUTCOME_UNSPECIFIED: _ClassVar[RepairOutcome]
    REPAIR_OUTCOME_NOT_NEEDED: _ClassVar[RepairOutcome]
    REPAIR_OUTCOME_REPAIRED: _ClassVar[RepairOutcome]
REPAIR_UNSPECIFIED: Repair
REPAIR_NONE: Repair
REPAIR_FIX: Repair
REPAIR_OUTCOME_UNSPECIFIED: RepairOutcome
REPAIR_OUTCOME_NOT_NEEDED: RepairOutcome
REPAIR_OUTCOME_REPAIRED: RepairOutcome

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class FindConvexHullRequest(_message.Message):
    __slots__ = ("points", "model", "model_version", "options", "repair", "symmetries")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    SYMMETRIES_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    repair: Repair
    symmetries: int
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ..., repair: _Optional[_Union[Repair, str]] = ..., symmetries: _Optional[int] = ...) -> None: ...

class FindConvexHullResponse(_message.Message):
    __slots__ = ("hypotheses", "model", "timings", "deadline_reached")
    HYPOTHESES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_REACHED_FIELD_NUMBER: _ClassVar[int]
    hypotheses: _containers.RepeatedCompositeFieldContainer[ConvexHullHypothesis]
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    deadline_reached: bool
    def __init__(self, hypotheses: _Optional[_Iterable[_Union[ConvexHullHypothesis, _Mapping]]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ..., deadline_reached: _Optional[bool] = ...) -> None: ...

class ConvexHullHypothesis(_message.Message):
    __slots__ = ("point_indices", "decoding", "valid", "area", "exact", "area_coverage", "repair_outcome", "changed_corner_count")
    POINT_INDICES_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    AREA_COVERAGE_FIELD_NUMBER: _ClassVar[int]
    REPAIR_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CHANGED_CORNER_COUNT_FIELD_NUMBER: _ClassVar[int]
    point_indices: _containers.RepeatedScalarFieldContainer[int]
    decoding: _decoding_pb2.Decoding
    valid: bool
    area: float
    exact: bool
    area_coverage: float
    repair_outcome: RepairOutcome
    changed_corner_count: int
    def __init__(self, point_indices: _Optional[_Iterable[int]] = ..., decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., valid: _Optional[bool] = ..., area: _Optional[float] = ..., exact: _Optional[bool] = ..., area_coverage: _Optional[float] = ..., repair_outcome: _Optional[_Union[RepairOutcome, str]] = ..., changed_corner_count: _Optional[int] = ...) -> None: ...

class FindDelaunayTriangulationRequest(_message.Message):
    __slots__ = ("points", "model", "model_version", "options", "repair", "symmetries")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    SYMMETRIES_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    repair: Repair
    symmetries: int
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ..., repair: _Optional[_Union[Repair, str]] = ..., symmetries: _Optional[int] = ...) -> None: ...

class FindDelaunayTriangulationResponse(_message.Message):
    __slots__ = ("hypotheses", "model", "timings", "deadline_reached")
    HYPOTHESES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_REACHED_FIELD_NUMBER: _ClassVar[int]
    hypotheses: _containers.RepeatedCompositeFieldContainer[DelaunayTriangulationHypothesis]
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    deadline_reached: bool
    def __init__(self, hypotheses: _Optional[_Iterable[_Union[DelaunayTriangulationHypothesis, _Mapping]]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ..., deadline_reached: _Optional[bool] = ...) -> None: ...

class DelaunayTriangulationHypothesis(_message.Message):
    __slots__ = ("triangles", "decoding", "valid", "exact", "triangle_coverage", "repair_outcome", "changed_triangle_count")
    TRIANGLES_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    TRIANGLE_COVERAGE_FIELD_NUMBER: _ClassVar[int]
    REPAIR_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CHANGED_TRIANGLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    triangles: _containers.RepeatedCompositeFieldContainer[Triangle]
    decoding: _decoding_pb2.Decoding
    valid: bool
    exact: bool
    triangle_coverage: float
    repair_outcome: RepairOutcome
    changed_triangle_count: int
    def __init__(self, triangles: _Optional[_Iterable[_Union[Triangle, _Mapping]]] = ..., decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., valid: _Optional[bool] = ..., exact: _Optional[bool] = ..., triangle_coverage: _Optional[float] = ..., repair_outcome: _Optional[_Union[RepairOutcome, str]] = ..., changed_triangle_count: _Optional[int] = ...) -> None: ...

class Triangle(_message.Message):
    __slots__ = ("a", "b", "c")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    C_FIELD_NUMBER: _ClassVar[int]
    a: int
    b: int
    c: int
    def __init__(self, a: _Optional[int] = ..., b: _Optional[int] = ..., c: _Optional[int] = ...) -> None: ...

class FindTourRequest(_message.Message):
    __slots__ = ("points", "model", "model_version", "options", "repair", "symmetries")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    SYMMETRIES_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    repair: Repair
    symmetries: int
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ..., repair: _Optional[_Union[Repair, str]] = ..., symmetries: _Optional[int] = ...) -> None: ...

class FindTourResponse(_message.Message):
    __slots__ = ("hypotheses", "model", "timings", "deadline_reached")
    HYPOTHESES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_REACHED_FIELD_NUMBER: _ClassVar[int]
    hypotheses: _containers.RepeatedCompositeFieldContainer[TourHypothesis]
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    deadline_reached: bool
    def __init__(self, hypotheses: _Optional[_Iterable[_Union[TourHypothesis, _Mapping]]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ..., deadline_reached: _Optional[bool] = ...) -> None: ...

class TourHypothesis(_message.Message):
    __slots__ = ("point_indices", "decoding", "valid", "length", "length_over_two_opt", "repair_outcome", "changed_edge_count")
    POINT_INDICES_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_OVER_TWO_OPT_FIELD_NUMBER: _ClassVar[int]
    REPAIR_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CHANGED_EDGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    point_indices: _containers.RepeatedScalarFieldContainer[int]
    decoding: _decoding_pb2.Decoding
    valid: bool
    length: float
    length_over_two_opt: float
    repair_outcome: RepairOutcome
    changed_edge_count: int
    def __init__(self, point_indices: _Optional[_Iterable[int]] = ..., decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., valid: _Optional[bool] = ..., length: _Optional[float] = ..., length_over_two_opt: _Optional[float] = ..., repair_outcome: _Optional[_Union[RepairOutcome, str]] = ..., changed_edge_count: _Optional[int] = ...) -> None: ...

class PointingServiceScoreTargetRequest(_message.Message):
    __slots__ = ("points", "task", "point_indices", "model", "model_version", "options")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    POINT_INDICES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    task: _model_pb2.Task
    point_indices: _containers.RepeatedScalarFieldContainer[int]
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., task: _Optional[_Union[_model_pb2.Task, str]] = ..., point_indices: _Optional[_Iterable[int]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

class PointingServiceScoreTargetResponse(_message.Message):
    __slots__ = ("decoding", "model", "timings")
    DECODING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    decoding: _decoding_pb2.Decoding
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    def __init__(self, decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ...) -> None: ...
