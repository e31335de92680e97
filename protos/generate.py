"""Regenerate the committed stubs, beamstep/v1 and serving/kserve/v2; `make protos` calls it, and a test."""

import sys
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
REPOSITORY = PROTOS.parent
KSERVE = Path("serving/kserve/v2")
"""Where the stubs of inference/ go: named by its package, they would be a package `inference` at the top."""
TYPED_SERVICES = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
"""mypy-protobuf's plugin: protoc itself types the messages, but not the services."""


def generate(destination: Path) -> None:
    """Write messages, services and the types of both for every proto into `destination`."""
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("beamstep/v1/*.proto"))
    foreign = sorted(str(KSERVE / path.name) for path in PROTOS.glob("inference/*.proto"))
    outputs = [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
    outputs += [f"--plugin={TYPED_SERVICES.name}={TYPED_SERVICES}", f"--mypy_grpc_out=quiet:{destination}"]
    folders = [f"-I{KSERVE}={PROTOS / 'inference'}", f"-I{PROTOS}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    if protoc.main(["protoc", *folders, *outputs, *ours, *foreign]) != 0:
        sys.exit("protoc failed")


if __name__ == "__main__":
    generate(REPOSITORY)
