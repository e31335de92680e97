"""The calls of AdminService: models that come and go while a server runs."""

from collections.abc import Callable
from typing import Any

from beamstep.v1 import admin_pb2
from beamstep.v1.admin_pb2_grpc import AdminServiceStub


class Admin:
    """AdminService of the server that a client calls; each call raises a `beamstep.errors.ServiceError` when it fails."""

    def __init__(self, stub: AdminServiceStub, call: Callable[[Any, Any], Any]) -> None:
        """Remember how the client calls."""
        self._stub = stub
        self._call = call

    def list_repository(self) -> admin_pb2.ListRepositoryResponse:
        """List every version that is there or still in use."""
        response: admin_pb2.ListRepositoryResponse = self._call(
            self._stub.ListRepository, admin_pb2.ListRepositoryRequest()
        )
        return response

    def load_model(self, name: str, version: str = "") -> admin_pb2.RepositoryModel:
        """Load a version, by default the latest in the server's folder, and wait until it is served."""
        response: admin_pb2.LoadModelResponse = self._call(
            self._stub.LoadModel, admin_pb2.LoadModelRequest(name=name, version=version)
        )
        return response.model

    def unload_model(self, name: str, version: str) -> admin_pb2.RepositoryModel:
        """Take a version out of service; calls that were taken are still answered."""
        response: admin_pb2.UnloadModelResponse = self._call(
            self._stub.UnloadModel, admin_pb2.UnloadModelRequest(name=name, version=version)
        )
        return response.model

    def set_canary(self, name: str, version: str, share: float) -> admin_pb2.Canary:
        """Let a version decode a share of its model's requests, from 0 to 1, a second time."""
        response: admin_pb2.SetCanaryResponse = self._call(
            self._stub.SetCanary, admin_pb2.SetCanaryRequest(name=name, version=version, share=share)
        )
        return response.canary

    def clear_canary(self, name: str) -> admin_pb2.Canary:
        """End a trial: the version is one as any other from now on."""
        response: admin_pb2.ClearCanaryResponse = self._call(
            self._stub.ClearCanary, admin_pb2.ClearCanaryRequest(name=name)
        )
        return response.canary

    def list_canaries(self) -> admin_pb2.ListCanariesResponse:
        """List the trials that go on, with what was found so far."""
        response: admin_pb2.ListCanariesResponse = self._call(self._stub.ListCanaries, admin_pb2.ListCanariesRequest())
        return response
