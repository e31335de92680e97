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
    __slots__ = ("hypotheses", "model", "timings", "attention_grid")
    HYPOTHESES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_GRID_FIELD_NUMBER: _ClassVar[int]
    hypotheses: _containers.RepeatedCompositeFieldContainer[CaptionHypothesis]
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    attention_grid: AttentionGrid
    def __init__(self, hypotheses: _Optional[_Iterable[_Union[CaptionHypothesis, _Mapping]]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ..., attention_grid: _Optional[_Union[AttentionGrid, _Mapping]] = ...) -> None: ...

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
