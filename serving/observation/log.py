"""Logs: one line a call, and every line as JSON where the operator wants it so."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpc import StatusCode

from serving.calls.call import Call
from serving.calls.interceptor import Context
from serving.observation.trailer import phases

logger = logging.getLogger("serving.calls")

LONGEST_PAYLOAD: Final = 2000
"""Characters of a request that a line holds at most."""
LONGEST_VALUE: Final = 200
"""Characters of one text or image in it."""
SERVERS_FAULT: Final = (StatusCode.INTERNAL, StatusCode.UNKNOWN)
REFUSALS: Final = 10
"""Lines of refused calls in a second; of a flood of them a line each costs as much as refusing does, and says nothing new."""


class CallLog:
    """An `Observer` that writes a line for every call that is over; health and reflection never reach it.

    Of calls that are refused for overload the first ten of a second have one, and then one says how many there were besides.
    """

    def __init__(self, *, payloads: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Write from now on.

        Args:
            payloads: whether a line holds its request, shortened.
            clock: seconds.
        """
        self._payloads = payloads
        self._clock = clock
        self._second = 0.0
        self._refused = 0

    def began(self, call: Call, context: Context) -> None:
        """Do nothing yet."""

    def ended(self, call: Call, context: Context) -> None:  # noqa: ARG002 - Observer
        """Write the line."""
        if self._one_too_many(call):
            return
        level = logging.ERROR if call.code in SERVERS_FAULT else logging.INFO
        if not logger.isEnabledFor(level):
            return
        fields = call_fields(call)
        if self._payloads and isinstance(call.request, Message):
            fields["request"] = payload(call.request)
        words = " ".join([f"{key}={_word(value)}" for key, value in fields.items() if value not in ("", 0)])
        # Made by hand: logging would look up which line of code logs, and it is always this one.
        record = logging.LogRecord(logger.name, level, __file__, 0, words, None, None)
        record.call = fields
        logger.handle(record)

    def _one_too_many(self, call: Call) -> bool:
        """Count a refusal; say whether it gets no line of its own."""
        now = self._clock()
        if now - self._second >= 1:
            if self._refused > REFUSALS:
                logger.info("refused %d more calls within a second", self._refused - REFUSALS)
            self._second, self._refused = now, 0
        if call.code is not StatusCode.RESOURCE_EXHAUSTED:
            return False
        self._refused += 1
        return self._refused > REFUSALS


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time (UTC), level, logger, message; of a call its fields instead of a message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        line["logger"] = record.name
        call = getattr(record, "call", None)
        line.update(call if isinstance(call, dict) else {"message": record.getMessage()})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def call_fields(call: Call) -> dict[str, Any]:
    """Return what a line says of a call; durations in milliseconds, nothing of the payload."""
    fields: dict[str, Any] = {
        "method": call.method.strip("/"),
        "code": call.code.name,
        "details": call.details,
        "model": call.model,
        "request_id": call.request_id,
        "trace_id": call.trace_id,
        "peer": call.peer,
        "principal": call.principal,
    }
    fields |= {f"{phase}_ms": round(1000 * seconds, 3) for phase, seconds in phases(call).items()}
    fields["source_length"] = call.source_length
    fields["steps"] = sum(decoded.step_count for decoded in call.decoded)
    fields["tokens"] = sum(len(decoded.hypotheses[0].tokens) for decoded in call.decoded)
    return fields


def payload(request: Message) -> str:
    """Return a request as JSON, long values and the whole cut off."""
    fields = _shortened(MessageToDict(request, preserving_proto_field_name=True))
    text = json.dumps(fields, ensure_ascii=False)
    return text if len(text) <= LONGEST_PAYLOAD else text[:LONGEST_PAYLOAD] + "…"


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    return value[:LONGEST_VALUE] + "…" if isinstance(value, str) and len(value) > LONGEST_VALUE else value


def _word(value: object) -> str:
    """Return a value as one word, quoted where it would be several; no line ends, whatever a caller sends."""
    text = str(value)
    return text if text.isprintable() and " " not in text and '"' not in text else json.dumps(text)
