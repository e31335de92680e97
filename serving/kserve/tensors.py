"""A KServe request's tensors, checked and unpacked; no memory is taken for a shape whose contents are not there."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidRequest
from serving.kserve.v2 import grpc_inference_pb2 as kserve_pb2

LONGEST_ECHO: Final = 100
"""Characters of a caller's own words that an error repeats."""
MOST_AXES: Final = 4
BYTES: Final = "BYTES"


class Datatype(NamedTuple):
    """How elements are written: raw as little-endian `dtype`, or in a field of their own."""

    dtype: np.dtype[Any]
    contents: str


NUMBERS: Final = {
    "BOOL": Datatype(np.dtype("?"), "bool_contents"),
    "INT32": Datatype(np.dtype("<i4"), "int_contents"),
    "INT64": Datatype(np.dtype("<i8"), "int64_contents"),
    "FP32": Datatype(np.dtype("<f4"), "fp32_contents"),
    "FP64": Datatype(np.dtype("<f8"), "fp64_contents"),
}


@dataclass(frozen=True)
class Input:
    """A tensor that a model takes.

    Attributes:
        name: how requests call it.
        datatypes: what its elements may be; the first is what metadata says.
        shapes: what it may look like, sources on axis 0; -1 is any size from 1, and the first is what metadata says.
        alone: what one source may look like without axis 0; None where it needs one.
        required: whether a request must bring it.
    """

    name: str
    datatypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    alone: tuple[int, ...] | None = None
    required: bool = True


@dataclass(frozen=True)
class Tensor:
    """A tensor that came in.

    Attributes:
        values: numbers with the sources on axis 0, or one bytes object a source.
    """

    values: NDArray[Any] | list[bytes]

    @property
    def numbers(self) -> NDArray[Any]:
        """Return the values of a tensor that has no BYTES."""
        assert isinstance(self.values, np.ndarray)
        return self.values

    @property
    def texts(self) -> list[bytes]:
        """Return the values of a tensor of BYTES."""
        assert isinstance(self.values, list)
        return self.values


def read_inputs(
    request: kserve_pb2.ModelInferRequest, expected: Sequence[Input], most_sources: int
) -> dict[str, Tensor]:
    """Return a request's tensors by name.

    Args:
        request: as it came.
        expected: what the model takes.
        most_sources: the largest axis 0.

    Raises:
        InvalidRequest: a tensor is missing, unknown, there twice, of another type or shape, or its contents are not what its
            type and shape say. Fields are named as in the proto, such as `inputs[0].shape`; elements as in `text[3]`.
    """
    by_name = {one.name: one for one in expected}
    names = ", ".join(by_name)
    if len(request.inputs) > len(by_name):
        raise InvalidRequest("inputs", f"{len(request.inputs)} tensors", f"{names}, each once")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        allowed = f"one for each of the {len(request.inputs)} inputs, or none"
        raise InvalidRequest("raw_input_contents", f"{len(raw)} of them", allowed)
    tensors: dict[str, Tensor] = {}
    for place, given in enumerate(request.inputs):
        field = f"inputs[{place}]"
        if given.name not in by_name or given.name in tensors:
            raise InvalidRequest(f"{field}.name", repr(given.name[:LONGEST_ECHO]), f"{names}, each once")
        if given.parameters:
            name = min(given.parameters)[:LONGEST_ECHO]
            raise InvalidRequest(f"{field}.parameters", repr(name), "none: contents come with the request")
        if raw and given.HasField("contents"):
            raise InvalidRequest(f"{field}.contents", "given together with raw_input_contents", "one of the two")
        tensors[given.name] = _read(field, given, by_name[given.name], raw[place] if raw else None, most_sources)
    for one in expected:
        if one.required and one.name not in tensors:
            raise InvalidRequest("inputs", f"no {one.name}", names)
    return tensors


def _read(
    field: str,
    given: kserve_pb2.ModelInferRequest.InferInputTensor,
    expected: Input,
    raw: bytes | None,
    most_sources: int,
) -> Tensor:
    if given.datatype not in expected.datatypes:
        allowed = " or ".join(expected.datatypes)
        raise InvalidRequest(f"{field}.datatype", repr(given.datatype[:LONGEST_ECHO]), f"{allowed} for {expected.name}")
    shape = _shape(f"{field}.shape", given.shape, expected, most_sources)
    count = math.prod(shape)
    if given.datatype == BYTES:
        if raw is None:
            return Tensor(list(_contents(field, given, "bytes_contents", count)))
        return Tensor(_unpacked(expected.name, raw, count))
    number = NUMBERS[given.datatype]
    if raw is None:
        values = np.array(_contents(field, given, number.contents, count), number.dtype)
    elif len(raw) != count * number.dtype.itemsize:
        allowed = f"{count * number.dtype.itemsize} bytes for shape {list(shape)} of {given.datatype}"
        raise InvalidRequest(f"raw_input_contents of {expected.name}", f"{len(raw)} bytes", allowed)
    else:
        values = np.frombuffer(raw, number.dtype)
    return Tensor(values.reshape(shape))


def _shape(field: str, given: Sequence[int], expected: Input, most_sources: int) -> tuple[int, ...]:
    """Return a tensor's shape with its sources on axis 0."""
    alone = () if expected.alone is None else (expected.alone,)
    allowed = " or ".join(str(list(shape)) for shape in (*expected.shapes, *alone))
    if len(given) > MOST_AXES:  # a message has room for millions
        raise InvalidRequest(field, f"{len(given)} axes", f"{allowed}, -1 being any size from 1")
    shape = tuple(given)
    for one in alone:
        if _fits(shape, one):
            return (1, *shape)
    if not any(_fits(shape, one) for one in expected.shapes):
        raise InvalidRequest(field, str(list(shape)), f"{allowed}, -1 being any size from 1")
    if shape[0] > most_sources:
        raise InvalidRequest(field, f"{shape[0]} sources", f"up to {most_sources} in one request")
    return shape


def _fits(shape: Sequence[int], pattern: Sequence[int]) -> bool:
    return len(shape) == len(pattern) and all(
        size >= 1 if wanted == -1 else size == wanted for size, wanted in zip(shape, pattern, strict=True)
    )


def _contents(field: str, given: kserve_pb2.ModelInferRequest.InferInputTensor, name: str, count: int) -> Sequence[Any]:
    """Return the elements that stand in the field of their type, and in no other."""
    for other, _ in given.contents.ListFields():
        if other.name != name:
            raise InvalidRequest(f"{field}.contents.{other.name}", "given", f"{name} for {given.datatype}")
    contents: Sequence[Any] = getattr(given.contents, name)
    if len(contents) != count:
        allowed = f"{count} for shape {list(given.shape)}"
        raise InvalidRequest(f"{field}.contents.{name}", f"{len(contents)} elements", allowed)
    return contents


def _unpacked(name: str, raw: bytes, count: int) -> list[bytes]:
    """Return elements of BYTES, each of which has its size before it."""
    elements, at = [], 0
    for place in range(count):
        left = len(raw) - at - 4
        if left < 0:
            raise InvalidRequest(
                f"{name}[{place}]", "no bytes left", f"{count} elements, each after its size in four bytes"
            )
        (size,) = struct.unpack_from("<I", raw, at)
        if size > left:
            raise InvalidRequest(f"{name}[{place}]", f"a size of {size} bytes", f"up to {left}, which are left")
        elements.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(raw):
        raise InvalidRequest(
            f"raw_input_contents of {name}", f"{len(raw)} bytes", f"{at}, which its {count} elements take"
        )
    return elements
