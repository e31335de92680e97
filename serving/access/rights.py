"""What a token may be allowed to call."""

from collections.abc import Mapping
from typing import Final

ALL: Final = "all"
OPEN: Final = "health"
"""Asks for no token: a load balancer or container has none, and the answer says no more than that a server is there."""
ADMIN: Final = "admin"
RIGHTS: Final = ("translation", "captioning", "pointing", "models", "kserve", ADMIN, "reflection", OPEN, ALL)

SERVICES: Final[Mapping[str, str]] = {
    "beamstep.v1.TranslationService": "translation",
    "beamstep.v1.CaptioningService": "captioning",
    "beamstep.v1.PointingService": "pointing",
    "beamstep.v1.ModelService": "models",
    "inference.GRPCInferenceService": "kserve",
    "grpc.reflection.v1alpha.ServerReflection": "reflection",
    "grpc.reflection.v1.ServerReflection": "reflection",
    "grpc.health.v1.Health": OPEN,
}
READING: Final = ("List", "Get", "Watch")
"""How the methods of ModelService begin that change nothing; all others are an admin's."""
REPOSITORY: Final = ("RepositoryModelLoad", "RepositoryModelUnload")
"""KServe's methods that change what is served."""


def right_of(path: str) -> str:
    """Return the right that a method asks for; one that nobody thought of is an admin's.

    Args:
        path: as gRPC has it, such as "/beamstep.v1.TranslationService/TranslateText".
    """
    service, _, method = path.strip("/").rpartition("/")
    right = SERVICES.get(service, ADMIN)
    changes = (right == "models" and not method.startswith(READING)) or (right == "kserve" and method in REPOSITORY)
    return ADMIN if changes else right
