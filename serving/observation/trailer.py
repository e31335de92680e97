"""Trailing metadata of a call: its id, and where its time went in the style of HTTP's Server-Timing."""

import time
from typing import Final

from serving.calls.call import REQUEST_ID, Call
from serving.calls.interceptor import Context

SERVER_TIMING: Final = "server-timing"


def phases(call: Call) -> dict[str, float]:
    """Return seconds by phase, of what has been decoded and in all; several searches of one call count as the longest each."""
    seconds = {}
    if call.decoded:
        seconds["queue"] = max(decoded.queue_s for decoded in call.decoded)
        seconds["encode"] = max(decoded.encode_s for decoded in call.decoded)
        seconds["decode"] = max(decoded.decode_s for decoded in call.decoded)
        seconds["step"] = max(decoded.spent.step_s for decoded in call.decoded)
        seconds["search"] = max(decoded.spent.search_s for decoded in call.decoded)
    seconds["total"] = (call.ended or time.monotonic()) - call.began
    return seconds


def trailer(call: Call) -> tuple[tuple[str, str], ...]:
    """Return what a call's trailing metadata says of it; times in milliseconds."""
    timing = ", ".join(f"{phase};dur={1000 * seconds:.3f}" for phase, seconds in phases(call).items())
    return ((REQUEST_ID, call.request_id), (SERVER_TIMING, timing))


def add_trailer(call: Call, context: Context) -> None:
    """Send it with a call's answer; too late, and without effect, where the call was aborted: servicers/status.py sends it then."""
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), *trailer(call)))
