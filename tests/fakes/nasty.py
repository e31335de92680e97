"""Requests as a hostile or careless client might send them: every field of a message, given every odd value of its type."""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MARK: Final = "#mark#"
"""Stands for bytes that are not UTF-8, which no message can be made to hold; see `not_utf8`."""

WHOLE: Final = (0, -1, 3, 10_000, 2**31 - 1, -(2**31))
REAL: Final = (0.0, -1.0, 5e-324, 1e308, math.nan, math.inf, -math.inf)
VALUES: Final[dict[int, tuple[Any, ...]]] = {
    FieldDescriptor.TYPE_INT32: WHOLE,
    FieldDescriptor.TYPE_INT64: (*WHOLE, 2**63 - 1, -(2**63)),
    FieldDescriptor.TYPE_ENUM: (0, 1, 2, 3, 99, -1, 2**31 - 1),
    FieldDescriptor.TYPE_BOOL: (True,),
    FieldDescriptor.TYPE_DOUBLE: REAL,
    FieldDescriptor.TYPE_FLOAT: REAL,
    FieldDescriptor.TYPE_STRING: (
        "",
        " \t\n",
        "x",
        "hund",
        "\0",
        "\u200b",
        "\u202e\ufeff\u0301",
        "🐕",
        "▁",
        "</s>",
        "{}%s%n'\"\\",
        "../../etc/passwd",
        "ein " * 300,
        "x" * 100_000,
    ),
    FieldDescriptor.TYPE_BYTES: (b"", b"\0", b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", bytes(100_000)),
}


class Nasty(NamedTuple):
    """One request.

    Attributes:
        path: the field that is odd, such as `options.sampling.seed`.
        request: the message.
    """

    path: str
    request: Message


def nasty(request: Message) -> Iterator[Nasty]:
    """Yield copies of a good request, each with one field odd."""
    for path, fields in _paths(request.DESCRIPTOR):
        last = fields[-1]
        for value in VALUES.get(last.type, ()):
            for count in (1, 20_000) if last.is_repeated and not _long(value) else (1,):
                yield Nasty(path, _with(request, fields, value, count))
        if last.message_type is not None:  # there, but empty
            yield Nasty(path, _with(request, fields, None, 1))
            if last.is_repeated:
                yield Nasty(path, _with(request, fields, None, 20_000))


def not_utf8(request: Message) -> Iterator[tuple[str, bytes]]:
    """Yield the wire bytes of copies of a good request, each with one string that is not UTF-8, and the name of that field."""
    for path, fields in _paths(request.DESCRIPTOR):
        if fields[-1].type == FieldDescriptor.TYPE_STRING:
            marked = _with(request, fields, MARK, 1).SerializeToString()
            yield path, marked.replace(MARK.encode(), b"\xc3\x28\xff\xfe\x80x")


def _paths(message: Any, before: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[str, list[FieldDescriptor]]]:
    """Yield every field of a message type, those of its messages included, with the name that a refusal gives it."""
    for field in message.fields:
        fields = (*before, field)
        yield ".".join(one.name + "[0]" * one.is_repeated for one in fields), list(fields)
        if field.message_type is not None:
            yield from _paths(field.message_type, fields)


def _with(request: Message, fields: list[FieldDescriptor], value: Any, count: int) -> Message:
    """Return a copy with a field set, `count` times where it is repeated; None is an empty message."""
    odd = type(request)()
    odd.CopyFrom(request)
    at: Any = odd
    for field in fields[:-1]:
        at = getattr(at, field.name)
        if field.is_repeated:
            at = at[0] if len(at) else at.add()
        else:
            at.SetInParent()
    last = fields[-1]
    if value is None:
        if last.is_repeated:
            for _ in range(count):
                getattr(at, last.name).add()
        else:
            getattr(at, last.name).SetInParent()
    elif last.is_repeated:
        at.ClearField(last.name)
        getattr(at, last.name).extend([value] * count)
    else:
        setattr(at, last.name, value)
    return odd


def _long(value: Any) -> bool:
    return isinstance(value, str | bytes) and len(value) > 100
