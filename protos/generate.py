"""Regenerate the committed stubs under beamstep/v1; `make protos` calls it, a test shows that it changes nothing."""

import sys
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
REPOSITORY = PROTOS.parent


def generate(destination: Path) -> None:
    """Write messages, services and their type stubs for every proto into `destination`."""
    files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("beamstep/v1/*.proto"))
    outputs = [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{Path(protoc.__file__).parent / '_proto'}", *outputs, *files]) != 0:
        sys.exit("protoc failed")


if __name__ == "__main__":
    generate(REPOSITORY)
