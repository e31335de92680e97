"""JSON to request messages, and answers to JSON: the proto3 mapping, with faults that name the field."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message
from grpc import StatusCode

from serving.http.statuses import Refused

PATH: Final = re.compile(r' at "\w+\.?([^"]*)"')
FIELD: Final = re.compile(r"Failed to parse (\w+) field")
UNKNOWN: Final = re.compile(r'no field named "([^"]*)"')


def read_json(data: bytes, into: type[Message], name: str = "body") -> Message:
    """Return the message that a JSON object says; names in snake_case or lowerCamelCase.

    Args:
        data: UTF-8.
        into: class of the message.
        name: what to call the whole in a complaint.

    Raises:
        Refused: INVALID_ARGUMENT, where it is no JSON, or has a field or value that the message has not.
    """
    try:
        given = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise _invalid(name, "nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError among them
        raise _invalid(name, f"is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise _invalid(name, f"is a JSON {_kind(given)}; allowed: an object, the {into.DESCRIPTOR.name}")
    return read_object(given, into, name)


def read_object(given: Mapping[str, Any], into: type[Message], name: str = "body") -> Message:
    """Return the message that a JSON object says. See `read_json`."""
    try:
        return json_format.ParseDict(dict(given), into())
    except RecursionError:
        raise _invalid(name, "nested too deeply") from None
    except (json_format.ParseError, ValueError, TypeError, OverflowError) as error:
        text = " ".join(str(error).split())
        raise _invalid(_field(text) or name, text) from None


def write_json(message: Message) -> bytes:
    """Return a message as a JSON object, fields by their names in the proto; those at their default are there too."""
    fields = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} comes twice in one object")
    return given


def _no_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _kind(given: Any) -> str:
    if given is None:
        return "null"
    return {list: "array", str: "string", bool: "boolean"}.get(type(given), "number")


def _field(text: str) -> str:
    """Return the field that json_format complains about, as a path in the request; "" where it says none."""
    at, unknown, wrapped = PATH.search(text), UNKNOWN.search(text), FIELD.findall(text)
    parts = [at[1] if at else "", unknown[1] if unknown else ""]
    return ".".join(part for part in parts if part) or ".".join(wrapped)


def _invalid(field: str, problem: str) -> Refused:
    message = f"{field}: {problem}".encode("utf-8", "replace").decode()
    return Refused(StatusCode.INVALID_ARGUMENT, message, field.encode("utf-8", "replace").decode())
