"""What is wrong with a message that protobuf could not read; it says only that it could not."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from serving.errors import InvalidRequest


def find_fault(message: Descriptor, data: bytes) -> InvalidRequest:
    """Return an error that names the first string field which is not UTF-8, or says that the message is malformed.

    Args:
        message: the type the bytes should be of.
        data: what came, which is not of it.
    """
    field = _find_bad_text(message, data, "")
    if field:
        return InvalidRequest(field, "bytes that are not UTF-8", "UTF-8 text")
    return InvalidRequest("request", f"{len(data)} bytes that cannot be read", f"a message of type {message.full_name}")


def _find_bad_text(message: Descriptor, data: bytes, prefix: str) -> str:
    """Return the path of the first bad string field, or "" where there is none."""
    empty = Empty()
    try:
        empty.ParseFromString(data)
    except DecodeError:
        return ""
    unknown: Any = UnknownFieldSet(empty)  # iterable, which typeshed does not know
    counts: dict[str, int] = {}
    for entry in unknown:
        field = message.fields_by_number.get(entry.field_number)
        if field is None or not isinstance(entry.data, bytes):
            continue
        path = prefix + field.name
        if field.is_repeated:
            counts[field.name] = counts.get(field.name, -1) + 1
            path += f"[{counts[field.name]}]"
        if field.message_type is not None:
            path = _find_bad_text(field.message_type, entry.data, f"{path}.")
        elif field.type != FieldDescriptor.TYPE_STRING or _is_utf8(entry.data):
            path = ""
        if path:
            return path
    return ""


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
