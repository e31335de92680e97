"""A KServe request's parameters, which are decoding options and fields of the typed request by name."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from beamstep.v1 import decoding_pb2
from serving.errors import InvalidRequest
from serving.kserve.tensors import LONGEST_ECHO
from serving.kserve.v2 import grpc_inference_pb2 as kserve_pb2

IGNORED: Final = frozenset(
    {"priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "triton_enable_empty_final_response"}
)
"""Parameters that Triton's clients send by themselves; they mean nothing to a server without Triton's schedulers."""
NO_OUTPUT: Final = frozenset({"include_attention", "ensemble_weight"})
"""Scalar options whose effect, or whose other half, has no form in tensors and parameters."""
OWN: Final = ("repair", "symmetries")
"""Fields of typed requests beside their options."""
SAMPLING: Final = "sampling"
INTEGERS: Final = {
    FieldDescriptor.TYPE_INT32: range(-(2**31), 2**31),
    FieldDescriptor.TYPE_INT64: range(-(2**63), 2**63),
}


def apply_parameters(parameters: Mapping[str, kserve_pb2.InferParameter], request: Message) -> None:
    """Set what the parameters say in a typed request.

    Args:
        parameters: by name; those in `IGNORED` are skipped. Numbers and booleans may be written as text, too, since clients of
            older versions of the protocol cannot send a double.
        request: with a field `options`.

    Raises:
        InvalidRequest: a name is unknown, or its value is of another type; the field is named `parameters.<name>`. Whether the
            value is in range is for the typed service to say.
    """
    options: Any = request.options  # type: ignore[attr-defined]
    known: dict[str, tuple[Any, Any]] = {
        name: (options, field) for name, field in _scalars(decoding_pb2.DecodingOptions).items()
    }
    known |= {name: (None, field) for name, field in _scalars(decoding_pb2.Sampling).items()}
    own = request.DESCRIPTOR.fields_by_name
    known |= {name: (request, own[name]) for name in OWN if name in own}
    samples: bool | None = None
    for name, parameter in parameters.items():
        if name in IGNORED:
            continue
        if name == SAMPLING:
            samples = _boolean(name, parameter)
        elif name in known:
            holder, field = known[name]
            value = _value(name, parameter, field)
            setattr(options.sampling if holder is None else holder, field.name, value)
        else:
            raise InvalidRequest(f"parameters.{name[:LONGEST_ECHO]}", "unknown", ", ".join((*known, SAMPLING)))
    if samples:
        options.sampling.SetInParent()
    elif samples is False and options.HasField(SAMPLING):
        raise InvalidRequest("parameters.sampling", "false together with parameters of sampling", "true or unset")


def _scalars(message: type[Message]) -> dict[str, Any]:
    """Return the descriptors of the fields that a parameter can set."""
    return {
        field.name: field
        for field in message.DESCRIPTOR.fields
        if not field.is_repeated and field.message_type is None and field.name not in NO_OUTPUT
    }


def _value(name: str, parameter: kserve_pb2.InferParameter, field: Any) -> Any:
    if field.type in INTEGERS:
        return _integer(name, parameter, INTEGERS[field.type])
    if field.enum_type is not None:
        return _choice(name, parameter, field)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _number(name, parameter)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _boolean(name, parameter)
    assert field.type == FieldDescriptor.TYPE_STRING, field.full_name
    return _text(name, parameter, "a string")


def _integer(name: str, parameter: kserve_pb2.InferParameter, allowed: range) -> int:
    words = f"an integer from {allowed[0]} to {allowed[-1]}"
    given = _given(name, parameter, words)
    if isinstance(given, str):
        try:
            given = int(given)
        except ValueError:
            raise _wrong(name, given, words) from None
    if not isinstance(given, int) or isinstance(given, bool) or given not in allowed:
        raise _wrong(name, given, words)
    return given


def _number(name: str, parameter: kserve_pb2.InferParameter) -> float:
    given = _given(name, parameter, "a number")
    try:
        if not isinstance(given, bool):
            return float(given)
    except ValueError:
        pass
    raise _wrong(name, given, "a number")


def _boolean(name: str, parameter: kserve_pb2.InferParameter) -> bool:
    given = _given(name, parameter, "true or false")
    if isinstance(given, str):
        given = {"true": True, "false": False}.get(given.lower(), given)
    if not isinstance(given, bool):
        raise _wrong(name, given, "true or false")
    return given


def _choice(name: str, parameter: kserve_pb2.InferParameter, field: Any) -> int:
    """Return an enum's number by its name, with or without the prefix that all its names have."""
    values = field.enum_type.values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    numbers: dict[str, int] = {value.name.removeprefix(prefix): value.number for value in values[1:]}
    words = " or ".join(numbers)
    given = _text(name, parameter, words)
    number = numbers.get(given.upper().removeprefix(prefix))
    if number is None:
        raise _wrong(name, given, words)
    return number


def _text(name: str, parameter: kserve_pb2.InferParameter, words: str) -> str:
    given = _given(name, parameter, words)
    if not isinstance(given, str):
        raise _wrong(name, given, words)
    return given


def _given(name: str, parameter: kserve_pb2.InferParameter, words: str) -> bool | int | float | str:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidRequest(f"parameters.{name}", "no value", words)
    value: bool | int | float | str = getattr(parameter, kind)
    return value


def _wrong(name: str, given: object, words: str) -> InvalidRequest:
    return InvalidRequest(f"parameters.{name}", repr(given)[:LONGEST_ECHO], words)
