from beamstep.v1 import decoding_pb2 as _decoding_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CaptionImageRequest(_message.Message):
    __slots__ = ("image", "model", "model_version", "options")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, image: _Optional[bytes] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

class CaptionImageResponse(_message.Message):
    __slots__ = ("hypotheses", "model", "timings", "attention_grid", "deadline_reached")
    HYPOTHESES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_GRID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_REACHED_FIELD_NUMBER: _ClassVar[int]
    hypotheses: _containers.RepeatedCompositeFieldContainer[CaptionHypothesis]
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    attention_grid: AttentionGrid
    deadline_reached: bool
    def __init__(self, hypotheses: _Optional[_Iterable[_Union[CaptionHypothesis, _Mapping]]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ..., attention_grid: _Optional[_Union[AttentionGrid, _Mapping]] = ..., deadline_reached: _Optional[bool] = ...) -> None: ...

class CaptionHypothesis(_message.Message):
    __slots__ = ("caption", "decoding")
    CAPTION_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    caption: str
    decoding: _decoding_pb2.Decoding
    def __init__(self, caption: _Optional[str] = ..., decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ...) -> None: ...

class AttentionGrid(_message.Message):
    __slots__ = ("row_count", "column_count")
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    COLUMN_COUNT_FIELD_NUMBER: _ClassVar[int]
    row_count: int
    column_count: int
    def __init__(self, row_count: _Optional[int] = ..., column_count: _Optional[int] = ...) -> None: ...

class StreamCaptionImageRequest(_message.Message):
    __slots__ = ("image", "model", "model_version", "options")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, image: _Optional[bytes] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

class StreamCaptionImageResponse(_message.Message):
    __slots__ = ("committed_text", "tentative_text", "revision", "answer")
    COMMITTED_TEXT_FIELD_NUMBER: _ClassVar[int]
    TENTATIVE_TEXT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    committed_text: str
    tentative_text: str
    revision: int
    answer: CaptionImageResponse
    def __init__(self, committed_text: _Optional[str] = ..., tentative_text: _Optional[str] = ..., revision: _Optional[int] = ..., answer: _Optional[_Union[CaptionImageResponse, _Mapping]] = ...) -> None: ...

class CaptioningServiceScoreTargetRequest(_message.Message):
    __slots__ = ("image", "target", "model", "model_version", "options")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    target: str
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, image: _Optional[bytes] = ..., target: _Optional[str] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

class CaptioningServiceScoreTargetResponse(_message.Message):
    __slots__ = ("decoding", "model", "timings", "attention_grid")
    DECODING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_GRID_FIELD_NUMBER: _ClassVar[int]
    decoding: _decoding_pb2.Decoding
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    attention_grid: AttentionGrid
    def __init__(self, decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ..., attention_grid: _Optional[_Union[AttentionGrid, _Mapping]] = ...) -> None: ...
