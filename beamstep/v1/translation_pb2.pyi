from beamstep.v1 import decoding_pb2 as _decoding_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TranslateTextRequest(_message.Message):
    __slots__ = ("text", "model", "model_version", "options")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    text: str
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, text: _Optional[str] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

class TranslateTextResponse(_message.Message):
    __slots__ = ("hypotheses", "model", "timings", "source_pieces", "deadline_reached")
    HYPOTHESES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PIECES_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_REACHED_FIELD_NUMBER: _ClassVar[int]
    hypotheses: _containers.RepeatedCompositeFieldContainer[TranslationHypothesis]
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    source_pieces: _containers.RepeatedScalarFieldContainer[str]
    deadline_reached: bool
    def __init__(self, hypotheses: _Optional[_Iterable[_Union[TranslationHypothesis, _Mapping]]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ..., source_pieces: _Optional[_Iterable[str]] = ..., deadline_reached: _Optional[bool] = ...) -> None: ...

class TranslationHypothesis(_message.Message):
    __slots__ = ("text", "decoding")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    text: str
    decoding: _decoding_pb2.Decoding
    def __init__(self, text: _Optional[str] = ..., decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ...) -> None: ...

class StreamTranslateTextRequest(_message.Message):
    __slots__ = ("text", "model", "model_version", "options")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    text: str
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, text: _Optional[str] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

class StreamTranslateTextResponse(_message.Message):
    __slots__ = ("committed_text", "tentative_text", "revision", "answer")
    COMMITTED_TEXT_FIELD_NUMBER: _ClassVar[int]
    TENTATIVE_TEXT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    committed_text: str
    tentative_text: str
    revision: int
    answer: TranslateTextResponse
    def __init__(self, committed_text: _Optional[str] = ..., tentative_text: _Optional[str] = ..., revision: _Optional[int] = ..., answer: _Optional[_Union[TranslateTextResponse, _Mapping]] = ...) -> None: ...

class TranslationServiceScoreTargetRequest(_message.Message):
    __slots__ = ("text", "target", "model", "model_version", "options")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    text: str
    target: str
    model: str
    model_version: str
    options: _decoding_pb2.DecodingOptions
    def __init__(self, text: _Optional[str] = ..., target: _Optional[str] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., options: _Optional[_Union[_decoding_pb2.DecodingOptions, _Mapping]] = ...) -> None: ...

class TranslationServiceScoreTargetResponse(_message.Message):
    __slots__ = ("decoding", "model", "timings", "source_pieces")
    DECODING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PIECES_FIELD_NUMBER: _ClassVar[int]
    decoding: _decoding_pb2.Decoding
    model: _decoding_pb2.ModelReference
    timings: _decoding_pb2.Timings
    source_pieces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, decoding: _Optional[_Union[_decoding_pb2.Decoding, _Mapping]] = ..., model: _Optional[_Union[_decoding_pb2.ModelReference, _Mapping]] = ..., timings: _Optional[_Union[_decoding_pb2.Timings, _Mapping]] = ..., source_pieces: _Optional[_Iterable[str]] = ...) -> None: ...
