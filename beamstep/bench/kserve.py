"""The KServe v2 protocol as a client speaks it, with messages of its own pool.

The stubs of serving belong to the server, and a process can hold only one set of them, tritonclient's or those. Names and numbers
here are the Open Inference Protocol's, as protos/inference has them.
"""

import struct
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from beamstep.bench.errors import BadInput
from beamstep.bench.prepared import Prepared, with_beam
from beamstep.bench.workload import Item
from beamstep.call_options import split_model
from beamstep.points import Point
from beamstep.v1.decoding_pb2 import DecodingOptions

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
MODEL_METADATA: Final = "/inference.GRPCInferenceService/ModelMetadata"
SERVER_METADATA: Final = "/inference.GRPCInferenceService/ServerMetadata"
TENSORS: Final = {"translation": "text", "captioning": "image"}
"""What our own server calls a task's input; `points` for the others."""
UNKNOWN: Final = ("priority",)
"""Options whose name means something else in this protocol."""
POINT_FORMATS: Final = {"FP32": "f", "FP64": "d"}

_FIELD = descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True)
class Tensor:
    """One input of a model, as ModelMetadata describes it."""

    name: str
    datatype: str
    rank: int


@dataclass(frozen=True)
class Described:
    """What a server says of one of its models."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[Tensor, ...]


def metadata_request(model: str) -> bytes:
    """Ask for the description of NAME or NAME/VERSION."""
    name, version = split_model(model)
    return bytes(_MESSAGES["ModelMetadataRequest"](name=name, version=version).SerializeToString())


def read_metadata(message: bytes) -> Described:
    """Read the answer to `metadata_request`."""
    answer = _MESSAGES["ModelMetadataResponse"].FromString(message)
    inputs = tuple(Tensor(tensor.name, tensor.datatype, len(tensor.shape)) for tensor in answer.inputs)
    return Described(answer.name, tuple(answer.versions), inputs)


def read_server(message: bytes) -> tuple[str, str]:
    """Read name and version of a server from the answer to an empty ServerMetadataRequest."""
    answer = _MESSAGES["ServerMetadataResponse"].FromString(message)
    return answer.name, answer.version


def choose_input(described: Described, item: Item, wanted: str) -> Tensor:
    """Return the tensor that an item goes into: the one asked for, else our own name for it, else the only one there is.

    Raises:
        BadInput: there is none such; the message says what the model has.
    """
    name = wanted or TENSORS.get(item.task, "points")
    for tensor in described.inputs:
        if tensor.name == name or (len(described.inputs) == 1 and not wanted):
            return tensor
    names = ", ".join(tensor.name for tensor in described.inputs) or "none"
    raise BadInput(f"--tensor: {name!r}; allowed, the inputs of model {described.name!r}: {names}")


def prepare_infer(item: Item, tensor: Tensor, *, model: str, beam_size: int | None) -> Prepared:
    """Return the ModelInfer that asks an item; its options become parameters.

    Raises:
        BadInput: the tensor cannot hold the item, or an option has no form in this protocol.
    """
    name, version = split_model(item.model or model)
    shape, content = _content(item, tensor)
    request = _MESSAGES["ModelInferRequest"](model_name=name, model_version=version, raw_input_contents=[content])
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
    for key, value in parameters(with_beam(item, beam_size)).items():
        setattr(request.parameters[key], _PARAMETERS[type(value)], value)
    return Prepared(INFER, request.SerializeToString(), False, item.weight)


def parameters(options: DecodingOptions) -> dict[str, bool | int | float | str]:
    """Return the options that are set by their names, those of sampling among them.

    Raises:
        BadInput: one is a list, for which the protocol has no form.
    """
    found: dict[str, bool | int | float | str] = {}
    for field, value in options.ListFields():
        if field.is_repeated or field.name in UNKNOWN:
            allowed = "options that are no lists, and no priority"
            raise BadInput(f"options.{field.name}: given; allowed with --protocol kserve: {allowed}")
        if field.name == "sampling":
            found["sampling"] = True
            found |= {inner.name: number for inner, number in value.ListFields()}
        elif field.enum_type is not None:
            found[field.name] = field.enum_type.values_by_number[value].name.removeprefix(f"{field.name.upper()}_")
        else:
            found[field.name] = value
    return found


def _content(item: Item, tensor: Tensor) -> tuple[list[int], bytes]:
    """Return the shape and the bytes of a tensor that holds the one item."""
    if isinstance(item.source, tuple):
        if tensor.datatype not in POINT_FORMATS:
            raise BadInput(f"--tensor: {tensor.name!r} is {tensor.datatype}; allowed for points: FP32 or FP64")
        return _point_content(item.source, tensor)
    if tensor.datatype != "BYTES":
        raise BadInput(f"--tensor: {tensor.name!r} is {tensor.datatype}; allowed for texts and images: BYTES")
    value = item.source.encode() if isinstance(item.source, str) else item.source
    return [1] * max(1, tensor.rank), struct.pack("<I", len(value)) + value


def _point_content(points: tuple[Point, ...], tensor: Tensor) -> tuple[list[int], bytes]:
    numbers = [number for point in points for number in point]
    shape = [len(points), 2] if tensor.rank == 2 else [1, len(points), 2]
    return shape, struct.pack(f"<{len(numbers)}{POINT_FORMATS[tensor.datatype]}", *numbers)


_PARAMETERS: Final = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def _messages() -> dict[str, Any]:
    """Make the classes of the messages that a client of ours needs."""
    file = descriptor_pb2.FileDescriptorProto(name="beamstep/bench/kserve.proto", package="inference", syntax="proto3")
    parameter = _message(
        file,
        "InferParameter",
        [
            ("bool_param", 1, _FIELD.TYPE_BOOL),
            ("int64_param", 2, _FIELD.TYPE_INT64),
            ("string_param", 3, _FIELD.TYPE_STRING),
            ("double_param", 4, _FIELD.TYPE_DOUBLE),
        ],
    )
    parameter.oneof_decl.add(name="parameter_choice")
    for field in parameter.field:
        field.oneof_index = 0
    text, integer, raw = _FIELD.TYPE_STRING, _FIELD.TYPE_INT64, _FIELD.TYPE_BYTES
    reference = [("name", 1, text), ("version", 2, text)]
    _message(file, "ServerMetadataResponse", reference)
    _message(file, "ModelMetadataRequest", reference)
    tensor = [("name", 1, text), ("datatype", 2, text), ("shape", 3, [integer])]
    _message(
        file, "TensorMetadata", tensor
    )  # nested in the standard's, which the wire does not show; so are the next ones
    _message(file, "InferInputTensor", tensor)
    _message(
        file, "ModelMetadataResponse", [("name", 1, text), ("versions", 2, [text]), ("inputs", 4, ["TensorMetadata"])]
    )
    infer = _message(
        file,
        "ModelInferRequest",
        [
            ("model_name", 1, text),
            ("model_version", 2, text),
            ("parameters", 4, ["ModelInferRequest.ParametersEntry"]),
            ("inputs", 5, ["InferInputTensor"]),
            ("raw_input_contents", 7, [raw]),
        ],
    )
    entry = infer.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    _fill(entry, [("key", 1, text), ("value", 2, "InferParameter")])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def _message(file: Any, name: str, fields: list[tuple[str, int, Any]]) -> Any:
    message = file.message_type.add(name=name)
    _fill(message, fields)
    return message


def _fill(message: Any, fields: list[tuple[str, int, Any]]) -> None:
    """Add fields: a type, the name of a message, or a list around either where it is repeated."""
    for name, number, kind in fields:
        inner = kind[0] if isinstance(kind, list) else kind
        field = message.field.add(name=name, number=number)
        field.label = _FIELD.LABEL_REPEATED if isinstance(kind, list) else _FIELD.LABEL_OPTIONAL
        if isinstance(inner, str):
            field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".inference.{inner}"
        else:
            field.type = inner


_MESSAGES: Final = _messages()
