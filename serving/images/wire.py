"""What the server and an image process say to each other, over pipes: a header of fixed size, then bytes.

Nothing of it is unpickled: whoever gets hold of a decoder through a bad file can send back wrong pixels or a wrong sentence,
and nothing else.
"""

import json
import struct
from typing import Final

from serving.errors import InvalidRequest

REQUEST: Final = struct.Struct(">IIQ")
"""Rows and columns of the result, bytes of the file that follows."""
ANSWER: Final = struct.Struct(">cI")
"""One of the kinds below, bytes that follow."""
PIXELS: Final = b"p"
"""(rows, columns, 3) uint8 RGB."""
REFUSED: Final = b"r"
"""The three parts of an `InvalidRequest`, as JSON."""
FAILED: Final = b"f"
"""What the operator's log is to say."""
MOST_TEXT: Final = 65_536
"""Bytes of what is not pixels."""


def refusal_bytes(error: InvalidRequest) -> bytes:
    """Return an error as bytes, at most `MOST_TEXT`."""
    return json.dumps([part[:1000] for part in (error.field, error.given, error.allowed)]).encode()


def read_refusal(data: bytes) -> InvalidRequest:
    """Return the error that `refusal_bytes` wrote.

    Raises:
        ValueError: it is none.
    """
    parts = json.loads(data)
    if not isinstance(parts, list) or len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        raise ValueError("not the three parts of a refusal")
    return InvalidRequest(*parts)
