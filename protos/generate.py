"""Regenerate the committed stubs under beamstep/v1; `make protos` calls it, a test shows that it changes nothing."""

import sys
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
REPOSITORY = PROTOS.parent
TYPED_SERVICES = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
"""mypy-protobuf's plugin: protoc itself types the messages, but not the services."""


def generate(destination: Path) -> None:
    """Write messages, services and the types of both for every proto into `destination`."""
    files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("beamstep/v1/*.proto"))
    outputs = [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
    outputs += [f"--plugin={TYPED_SERVICES.name}={TYPED_SERVICES}", f"--mypy_grpc_out=quiet:{destination}"]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{Path(protoc.__file__).parent / '_proto'}", *outputs, *files]) != 0:
        sys.exit("protoc failed")


if __name__ == "__main__":
    generate(REPOSITORY)
