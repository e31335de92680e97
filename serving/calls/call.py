"""One call on its way through the server: who asked for what, which model answered, and where the time went.

The interceptor makes it, whoever learns something writes it down, and observers (logs, metrics, traces) read it at the end.
"""

import random
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from grpc import StatusCode

from serving.request import CacheHit, Decoded

REQUEST_ID: Final = "x-request-id"
"""Metadata that names a call, sent back as it came; a new one is made where it is missing."""
LONGEST_ID: Final = 128
SECRETS: Final = frozenset({"authorization", "cookie"})
"""Metadata that no log, metric or trace may hold."""


@dataclass
class Call:
    """What is known of one call; times in seconds on time.monotonic's clock.

    Attributes:
        method: with a leading slash, such as "/beamstep.v1.TranslationService/TranslateText".
        metadata: of the request, the last value of each key; binary values and `SECRETS` aside.
        peer: the address it came from, as gRPC writes it.
        began: when it came.
        request_id: the caller's, or made here.
        trace_id: of the trace that it is part of, 32 hexadecimal digits; "" where there is none.
        request: the message as it was read; nothing but the log may look at it.
        principal: the name of the token it came with; "" where none is asked for.
        model: key of the model that it is for, once that is known.
        source_length: positions of its source, once that is known.
        decoded: what the engine answered; several where one call searches several times.
        decoded_at: when each of these was there.
        ended: when it was over; 0 while it goes on.
        code: how it ended.
        details: what the caller was told of an error.
    """

    method: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    began: float = field(default_factory=time.monotonic)
    request_id: str = field(default_factory=lambda: f"{random.getrandbits(128):032x}")  # no secret, so no system call
    trace_id: str = ""
    request: Any = None
    principal: str = ""
    model: str = ""
    source_length: int = 0
    decoded: list[Decoded] = field(default_factory=list)
    decoded_at: list[float] = field(default_factory=list)
    ended: float = 0.0
    code: StatusCode = StatusCode.OK
    details: str = ""

    @property
    def service(self) -> str:
        """Return the full name of the service, such as "beamstep.v1.TranslationService"."""
        return self.method.strip("/").rpartition("/")[0]

    @property
    def cache_hit(self) -> CacheHit:
        """Return the least that its answers have from a cache; NONE where there are none."""
        every = {decoded.cache_hit for decoded in self.decoded} or {CacheHit.NONE}
        return next(hit for hit in CacheHit if hit in every)


CURRENT: Final[ContextVar[Call | None]] = ContextVar("call", default=None)
"""The call that the running coroutine works for; None outside of calls."""


def note_model(key: str, source_length: int) -> None:
    """Write down which model the current call is for."""
    call = CURRENT.get()
    if call is not None:
        call.model, call.source_length = key, source_length


def note_principal(name: str) -> None:
    """Write down whose token the current call came with."""
    call = CURRENT.get()
    if call is not None:
        call.principal = name


def note_decoded(decoded: Decoded) -> None:
    """Write down what the engine answered the current call."""
    call = CURRENT.get()
    if call is not None:
        call.decoded.append(decoded)
        call.decoded_at.append(time.monotonic())
