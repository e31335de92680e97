from beamstep.v1 import decoding_pb2 as _decoding_pb2
from beamstep.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class FindConvexHullRequest(_message.Message):
    __slots__ = ("points", "model", "model_version", "options")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("point_indices", "decoding", "valid", "area")
    POINT_INDICES_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    point_indices: _containers.RepeatedScalarFieldContainer[int]
    decoding: _decoding_pb2.Decoding
    valid: bool
    area: float
    def __init__(self, point_indices: _Optional[_Iterable[int]] = ..., decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., valid: _Optional[bool] = ..., area: _Optional[float] = ...) -> None: ...

class FindDelaunayTriangulationRequest(_message.Message):
    __slots__ = ("points", "model", "model_version", "options")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("triangles", "decoding", "valid")
    TRIANGLES_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    triangles: _containers.RepeatedCompositeFieldContainer[Triangle]
    decoding: _decoding_pb2.Decoding
    valid: bool
    def __init__(self, triangles: _Optional[_Iterable[_Union[Triangle, _Mapping]]] = ..., decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., valid: _Optional[bool] = ...) -> None: ...

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
    __slots__ = ("points", "model", "model_version", "options")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("point_indices", "decoding", "valid", "length")
    POINT_INDICES_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    point_indices: _containers.RepeatedScalarFieldContainer[int]
    decoding: _decoding_pb2.Decoding
    valid: bool
    length: float
    def __init__(self, point_indices: _Optional[_Iterable[int]] = ..., decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., valid: _Optional[bool] = ..., length: _Optional[float] = ...) -> None: ...

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
