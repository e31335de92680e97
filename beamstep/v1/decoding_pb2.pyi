import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_LOW: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]

class LengthNormalization(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LENGTH_NORMALIZATION_UNSPECIFIED: _ClassVar[LengthNormalization]
    LENGTH_NORMALIZATION_GNMT: _ClassVar[LengthNormalization]
    LENGTH_NORMALIZATION_PLAIN: _ClassVar[LengthNormalization]

class OnDeadline(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_DEADLINE_UNSPECIFIED: _ClassVar[OnDeadline]
    ON_DEADLINE_FAIL: _ClassVar[OnDeadline]
    ON_DEADLINE_RETURN_BEST: _ClassVar[OnDeadline]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_END_OF_SEQUENCE: _ClassVar[FinishReason]
    FINISH_REASON_MAX_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_DEAD_END: _ClassVar[FinishReason]
    FINISH_REASON_DEADLINE: _ClassVar[FinishReason]

class CacheHit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_HIT_UNSPECIFIED: _ClassVar[CacheHit]
    CACHE_HIT_NONE: _ClassVar[CacheHit]
    CACHE_HIT_MEMORY: _ClassVar[CacheHit]
    CACHE_HIT_ANSWER: _ClassVar[CacheHit]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_LOW: Priority
PRIORITY_NORMAL: Priority
PRIORITY_HIGH: Priority
LENGTH_NORMALIZATION_UNSPECIFIED: LengthNormalization
LENGTH_NORMALIZATION_GNMT: LengthNormalization
LENGTH_NORMALIZATION_PLAIN: LengthNormalization
ON_DEADLINE_UNSPECIFIED: OnDeadline
ON_DEADLINE_FAIL: OnDeadline
ON_DEADLINE_RETURN_BEST: OnDeadline
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_END_OF_SEQUENCE: FinishReason
FINISH_REASON_MAX_LENGTH: FinishReason
FINISH_REASON_DEAD_END: FinishReason
FINISH_REASON_DEADLINE: FinishReason
CACHE_HIT_UNSPECIFIED: CacheHit
CACHE_HIT_NONE: CacheHit
CACHE_HIT_MEMORY: CacheHit
CACHE_HIT_ANSWER: CacheHit

class DecodingOptions(_message.Message):
    __slots__ = ("beam_size", "hypothesis_count", "length_penalty", "min_length", "max_length", "include_attention", "length_normalization", "coverage_penalty", "patience", "repetition_penalty", "no_repeat_ngram_size", "suppressed_tokens", "suppressed_phrases", "required_phrases", "target_prefix", "target_prefix_tokens", "alternatives", "sampling", "on_deadline", "ensemble", "ensemble_weight", "priority")
    BEAM_SIZE_FIELD_NUMBER: _ClassVar[int]
    HYPOTHESIS_COUNT_FIELD_NUMBER: _ClassVar[int]
    LENGTH_PENALTY_FIELD_NUMBER: _ClassVar[int]
    MIN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTENTION_FIELD_NUMBER: _ClassVar[int]
    LENGTH_NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    NO_REPEAT_NGRAM_SIZE_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_PHRASES_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_PHRASES_FIELD_NUMBER: _ClassVar[int]
    TARGET_PREFIX_FIELD_NUMBER: _ClassVar[int]
    TARGET_PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    ON_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    beam_size: int
    hypothesis_count: int
    length_penalty: float
    min_length: int
    max_length: int
    include_attention: bool
    length_normalization: LengthNormalization
    coverage_penalty: float
    patience: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    suppressed_tokens: _containers.RepeatedScalarFieldContainer[int]
    suppressed_phrases: _containers.RepeatedScalarFieldContainer[str]
    required_phrases: _containers.RepeatedScalarFieldContainer[str]
    target_prefix: str
    target_prefix_tokens: _containers.RepeatedScalarFieldContainer[int]
    alternatives: bool
    sampling: Sampling
    on_deadline: OnDeadline
    ensemble: _containers.RepeatedCompositeFieldContainer[EnsembleMember]
    ensemble_weight: float
    priority: Priority
    def __init__(self, beam_size: _Optional[int] = ..., hypothesis_count: _Optional[int] = ..., length_penalty: _Optional[float] = ..., min_length: _Optional[int] = ..., max_length: _Optional[int] = ..., include_attention: _Optional[bool] = ..., length_normalization: _Optional[_Union[LengthNormalization, str]] = ..., coverage_penalty: _Optional[float] = ..., patience: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., no_repeat_ngram_size: _Optional[int] = ..., suppressed_tokens: _Optional[_Iterable[int]] = ..., suppressed_phrases: _Optional[_Iterable[str]] = ..., required_phrases: _Optional[_Iterable[str]] = ..., target_prefix: _Optional[str] = ..., target_prefix_tokens: _Optional[_Iterable[int]] = ..., alternatives: _Optional[bool] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., on_deadline: _Optional[_Union[OnDeadline, str]] = ..., ensemble: _Optional[_Iterable[_Union[EnsembleMember, _Mapping]]] = ..., ensemble_weight: _Optional[float] = ..., priority: _Optional[_Union[Priority, str]] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("temperature", "top_k", "top_p", "seed")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    top_k: int
    top_p: float
    seed: int
    def __init__(self, temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class EnsembleMember(_message.Message):
    __slots__ = ("model", "model_version", "weight")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    weight: float
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("score", "log_prob", "tokens", "finish_reason", "seed")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LOG_PROB_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    score: float
    log_prob: float
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    finish_reason: FinishReason
    seed: int
    def __init__(self, score: _Optional[float] = ..., log_prob: _Optional[float] = ..., tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., seed: _Optional[int] = ...) -> None: ...

class ModelReference(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue_time", "encode_time", "decode_time", "total_time", "step_count", "cache_hit", "step_time", "search_time")
    QUEUE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENCODE_TIME_FIELD_NUMBER: _ClassVar[int]
    DECODE_TIME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TIME_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    CACHE_HIT_FIELD_NUMBER: _ClassVar[int]
    STEP_TIME_FIELD_NUMBER: _ClassVar[int]
    SEARCH_TIME_FIELD_NUMBER: _ClassVar[int]
    queue_time: _duration_pb2.Duration
    encode_time: _duration_pb2.Duration
    decode_time: _duration_pb2.Duration
    total_time: _duration_pb2.Duration
    step_count: int
    cache_hit: CacheHit
    step_time: _duration_pb2.Duration
    search_time: _duration_pb2.Duration
    def __init__(self, queue_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., encode_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., decode_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., step_count: _Optional[int] = ..., cache_hit: _Optional[_Union[CacheHit, str]] = ..., step_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., search_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
