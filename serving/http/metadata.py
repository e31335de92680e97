"""What of a request's headers goes with its call, and what of the call's metadata comes back as headers."""

import math
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Final

from grpc import StatusCode
from multidict import CIMultiDictProxy

from serving.calls.call import LONGEST_ID, REQUEST_ID
from serving.http.statuses import Refused

FORWARDED: Final = ("authorization", "traceparent", "tracestate", REQUEST_ID)
PREFIX: Final = "x-beamstep-"
TIMEOUT: Final = "X-Timeout"
PEER: Final = "x-forwarded-for"
RETURNED: Final = (REQUEST_ID, "server-timing")
MOST_BYTES: Final = 6144
"""Of all that is forwarded; gRPC takes 8 KiB of metadata."""
LONGEST_S: Final = 86400.0
KEY: Final = re.compile(r"[0-9a-z_.-]+")


def forwarded(headers: CIMultiDictProxy[str], peer: str) -> list[tuple[str, str]]:
    """Return the metadata of a call.

    A call without a request id gets one, so that the answer can name it whatever becomes of the call.

    Args:
        headers: of the HTTP request.
        peer: address that it came from, "" where it is not known.

    Raises:
        Refused: a header cannot be metadata, or there are too many.
    """
    metadata = []
    for name, value in headers.items():
        key = name.lower()
        if key not in FORWARDED and not key.startswith(PREFIX):
            continue
        if not KEY.fullmatch(key) or key.endswith("-bin"):
            raise Refused(StatusCode.INVALID_ARGUMENT, f"header {key!a}: allowed: a-z, 0-9, '-', '_', '.', not -bin")
        if not value.isascii() or not value.isprintable():
            raise Refused(StatusCode.INVALID_ARGUMENT, f"header {key}: allowed: printable ASCII characters", key)
        if key == REQUEST_ID and not 0 < len(value) <= LONGEST_ID:
            continue
        metadata.append((key, value))
    if sum(len(key) + len(value) for key, value in metadata) > MOST_BYTES:
        raise Refused(StatusCode.INVALID_ARGUMENT, f"headers: allowed: up to {MOST_BYTES} bytes of them", http=431)
    if REQUEST_ID not in (key for key, _ in metadata):
        metadata.append((REQUEST_ID, uuid.uuid4().hex))
    if peer:
        metadata.append((PEER, peer))
    return metadata


def timeout_of(headers: Mapping[str, str]) -> float | None:
    """Return the call's deadline in seconds from now; None without one.

    Raises:
        Refused: it is no number in range.
    """
    given = headers.get(TIMEOUT)
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_S:
        allowed = f"seconds, above 0 and up to {LONGEST_S:g}"
        raise Refused(StatusCode.INVALID_ARGUMENT, f"header {TIMEOUT}: {given!a}; allowed: {allowed}", TIMEOUT)
    return seconds


def returned(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Return the headers that a call's metadata becomes."""
    return {key: value for key, value in metadata if key in RETURNED and isinstance(value, str) and value.isprintable()}
