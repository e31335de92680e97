"""From typed answers to the tensors that go out."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from serving.errors import InvalidRequest
from serving.kserve.tensors import BYTES, LONGEST_ECHO, NUMBERS
from serving.kserve.v2 import grpc_inference_pb2 as kserve_pb2

PER_SOURCE: Final = 1
"""Axes of a tensor that has one element a source; others have one, or a list, for each hypothesis of each source."""


@dataclass(frozen=True)
class Output:
    """A tensor that a model gives.

    Attributes:
        name: how requests call it.
        datatype: of its elements.
        shape: (N,) for N answers, (N, H) for their hypotheses, (N, H, L) for lists and (N, H, L, W) for lists of W numbers, all
            -1 but W.
        read: takes its element, or list, from a typed answer or hypothesis.
        padding: the element where a source has fewer than H hypotheses, or one fewer than L entries.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    read: Callable[[Any], Any]
    padding: Any = 0

    def write(self, answers: Sequence[Any]) -> tuple[tuple[int, ...], bytes]:
        """Return the shape of this tensor for N typed answers, H being the most hypotheses of one, and its raw elements."""
        if len(self.shape) == PER_SOURCE:
            return (len(answers),), self._raw([self.read(answer) for answer in answers])
        values = [[self.read(found) for found in answer.hypotheses] for answer in answers]
        most = max(map(len, values))
        if len(self.shape) == PER_SOURCE + 1:
            padded = [value for row in values for value in (*row, *[self.padding] * (most - len(row)))]
            return (len(answers), most), self._raw(padded)
        longest = max(1, *(len(entries) for row in values for entries in row))
        shape = (len(answers), most, longest, *self.shape[3:])
        tensor = np.full(shape, self.padding, NUMBERS[self.datatype].dtype)
        for row, lists in zip(tensor, values, strict=True):
            for cells, entries in zip(row, lists, strict=False):
                if len(entries):
                    cells[: len(entries)] = entries
        return shape, tensor.tobytes()

    def _raw(self, elements: Sequence[Any]) -> bytes:
        if self.datatype == BYTES:
            encoded = [element.encode() for element in elements]
            return b"".join(struct.pack("<I", len(element)) + element for element in encoded)
        return np.array(elements, NUMBERS[self.datatype].dtype).tobytes()


def chosen_outputs(request: kserve_pb2.ModelInferRequest, outputs: Sequence[Output]) -> list[Output]:
    """Return the outputs that a request wants, in its order; all where it names none.

    Raises:
        InvalidRequest: there is none of a name, it is named twice, or with parameters.
    """
    by_name = {output.name: output for output in outputs}
    if len(request.outputs) > len(by_name):
        raise InvalidRequest("outputs", f"{len(request.outputs)} tensors", f"some of {', '.join(by_name)}, each once")
    chosen: dict[str, Output] = {}
    for place, wanted in enumerate(request.outputs):
        if wanted.name not in by_name or wanted.name in chosen:
            allowed = f"some of {', '.join(by_name)}, each once"
            raise InvalidRequest(f"outputs[{place}].name", repr(wanted.name[:LONGEST_ECHO]), allowed)
        if wanted.parameters:
            name = min(wanted.parameters)[:LONGEST_ECHO]
            raise InvalidRequest(f"outputs[{place}].parameters", repr(name), "none")
        chosen[wanted.name] = by_name[wanted.name]
    return list(chosen.values()) or list(outputs)


def write_outputs(response: kserve_pb2.ModelInferResponse, outputs: Sequence[Output], answers: Sequence[Any]) -> None:
    """Add tensors of typed answers to a response."""
    for output in outputs:
        shape, raw = output.write(answers)
        response.outputs.add(name=output.name, datatype=output.datatype, shape=shape)
        response.raw_output_contents.append(raw)
