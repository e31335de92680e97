"""What is asked of a server before and beside the load: whether it is there, what it has, and whether a request is one at all."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import grpc

from beamstep.bench.errors import BadInput
from beamstep.bench.kserve import (
    MODEL_METADATA,
    SERVER_METADATA,
    Described,
    choose_input,
    metadata_request,
    prepare_infer,
    read_metadata,
    read_server,
)
from beamstep.bench.plan import Protocol, Settings
from beamstep.bench.prepared import Prepared, prepare
from beamstep.bench.workload import Workload
from beamstep.channel import Endpoint
from beamstep.errors import error_of
from beamstep.v1.model_pb2 import GetModelRequest, ListModelsRequest, Model, Task
from beamstep.v1.model_pb2_grpc import ModelServiceStub

HEALTH: Final = "/grpc.health.v1.Health/Check"
SERVING: Final = b"\x08\x01"
"""HealthCheckResponse(status=SERVING)."""


class Contact:
    """A server, asked one thing after the other; within `contact`."""

    def __init__(self, channel: grpc.Channel, metadata: Any, timeout_s: float) -> None:
        self._channel = channel
        self._metadata = metadata
        self._timeout_s = timeout_s

    def serving(self, timeout_s: float) -> bool:
        """Tell whether the standard health service says that the server is ready."""
        check: Any = self._channel.unary_unary(HEALTH)
        try:
            return bool(check(b"", timeout=timeout_s) == SERVING)
        except grpc.RpcError:
            return False

    def ask(self, method: str, request: bytes, *, streams: bool = False) -> bytes:
        """Make one call; of a stream return the last message. ServiceError says what it failed with."""
        make: Any = self._channel.unary_stream if streams else self._channel.unary_unary
        try:
            answer = make(method)(request, timeout=self._timeout_s, metadata=self._metadata)
            return bytes(list(answer)[-1] if streams else answer)
        except grpc.RpcError as error:
            raise error_of(error) from None

    def models(self) -> list[dict[str, Any]]:
        """Return what our own server says of its models, with the hashes that their manifests hold."""
        stub = ModelServiceStub(self._channel)
        try:
            listed = stub.ListModels(ListModelsRequest(), timeout=self._timeout_s, metadata=self._metadata).models
            return [self._model(stub, model) for model in listed]
        except grpc.RpcError as error:
            raise error_of(error) from None

    def described(self, model: str) -> Described:
        """Return what a KServe server says of a model."""
        return read_metadata(self.ask(MODEL_METADATA, metadata_request(model)))

    def _model(self, stub: Any, model: Model) -> dict[str, Any]:
        reference = model.reference
        request = GetModelRequest(name=reference.name, version=reference.version)
        manifest = stub.GetModel(request, timeout=self._timeout_s, metadata=self._metadata).manifest_json
        graphs = json.loads(manifest or "{}").get("graphs", {}).get(model.precision, {})
        return {
            "name": reference.name,
            "version": reference.version,
            "task": Task.Name(model.task).removeprefix("TASK_").lower(),
            "precision": model.precision,
            "provider": model.execution_provider,
            "manifest_sha256": hashlib.sha256(manifest.encode()).hexdigest(),
            "graphs_sha256": {name: graph["sha256"] for name, graph in graphs.items()},
        }


@contextmanager
def contact(endpoint: Endpoint, timeout_s: float) -> Iterator[Contact]:
    """Open a connection for a block; nothing connects before the first call."""
    with endpoint.open() as channel:
        yield Contact(channel, endpoint.metadata, timeout_s)


def describe_server(server: Contact, settings: Settings, workload: Workload) -> list[dict[str, Any]]:
    """Return the models that the server has, as far as its protocol tells. ServiceError where it does not answer."""
    if settings.protocol is Protocol.TYPED:
        return server.models()
    name, version = read_server(server.ask(SERVER_METADATA, b""))
    found = [server.described(model) for model in _models(settings, workload)]
    return [
        {"name": model.name, "versions": list(model.versions), "server": f"{name} {version}".strip()} for model in found
    ]


def prepare_all(server: Contact, settings: Settings, workload: Workload, beam_size: int | None) -> tuple[Prepared, ...]:
    """Return the calls that ask the workload's items, the first of them tried once.

    Raises:
        BadInput: an item cannot be asked so.
        ServiceError: the first one is refused.
    """
    calls: Sequence[Prepared]
    if settings.protocol is Protocol.TYPED:
        calls = [
            prepare(item, model=settings.model, beam_size=beam_size, stream=settings.stream) for item in workload.items
        ]
    else:
        described = {model: server.described(model) for model in _models(settings, workload)}
        calls = [
            prepare_infer(
                item,
                choose_input(described[item.model or settings.model], item, settings.tensor),
                model=settings.model,
                beam_size=beam_size,
            )
            for item in workload.items
        ]
    server.ask(calls[0].method, calls[0].request, streams=calls[0].streams)
    return tuple(calls)


def _models(settings: Settings, workload: Workload) -> list[str]:
    """Return the models that a workload asks, each once."""
    named = list(dict.fromkeys(item.model or settings.model for item in workload.items))
    if "" in named:
        raise BadInput("--model: not given; needed with --protocol kserve where a request names none")
    return named
