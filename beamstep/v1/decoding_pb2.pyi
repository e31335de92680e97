import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_END_OF_SEQUENCE: _ClassVar[FinishReason]
    FINISH_REASON_MAX_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_DEAD_END: _ClassVar[FinishReason]
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_END_OF_SEQUENCE: FinishReason
FINISH_REASON_MAX_LENGTH: FinishReason
FINISH_REASON_DEAD_END: FinishReason

class DecodingOptions(_message.Message):
    __slots__ = ("beam_size", "hypothesis_count", "length_penalty", "min_length", "max_length", "include_attention")
    BEAM_SIZE_FIELD_NUMBER: _ClassVar[int]
    HYPOTHESIS_COUNT_FIELD_NUMBER: _ClassVar[int]
    LENGTH_PENALTY_FIELD_NUMBER: _ClassVar[int]
    MIN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTENTION_FIELD_NUMBER: _ClassVar[int]
    beam_size: int
    hypothesis_count: int
    length_penalty: float
    min_length: int
    max_length: int
    include_attention: bool
    def __init__(self, beam_size: _Optional[int] = ..., hypothesis_count: _Optional[int] = ..., length_penalty: _Optional[float] = ..., min_length: _Optional[int] = ..., max_length: _Optional[int] = ..., include_attention: _Optional[bool] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "piece", "log_prob", "attention")
    ID_FIELD_NUMBER: _ClassVar[int]
    PIECE_FIELD_NUMBER: _ClassVar[int]
    LOG_PROB_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    id: int
    piece: str
    log_prob: float
    attention: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, id: _Optional[int] = ..., piece: _Optional[str] = ..., log_prob: _Optional[float] = ..., attention: _Optional[_Iterable[float]] = ...) -> None: ...

class Decoding(_message.Message):
    __slots__ = ("score", "log_prob", "tokens", "finish_reason")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LOG_PROB_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    score: float
    log_prob: float
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    finish_reason: FinishReason
    def __init__(self, score: _Optional[float] = ..., log_prob: _Optional[float] = ..., tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ...) -> None: ...

class ModelReference(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue_time", "encode_time", "decode_time", "total_time", "step_count")
    QUEUE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENCODE_TIME_FIELD_NUMBER: _ClassVar[int]
    DECODE_TIME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TIME_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    queue_time: _duration_pb2.Duration
    encode_time: _duration_pb2.Duration
    decode_time: _duration_pb2.Duration
    total_time: _duration_pb2.Duration
    step_count: int
    def __init__(self, queue_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., encode_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., decode_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., step_count: _Optional[int] = ...) -> None: ...
