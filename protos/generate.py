"""Regenerate the committed stubs, beamstep/v1 and serving/kserve/v2; `make protos` calls it, and a test."""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).parent
REPOSITORY = PROTOS.parent
KSERVE = Path("serving/kserve/v2")
"""Where the stubs of inference/ go: named by its package, they would be a package `inference` at the top."""
TYPED_SERVICES = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
"""mypy-protobuf's plugin: protoc itself types the messages, but not the services."""


def generate(destination: Path) -> None:
    """Write messages, services, the types of both, and the comments of our own, for every proto into `destination`."""
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("beamstep/v1/*.proto"))
    foreign = sorted(str(KSERVE / path.name) for path in PROTOS.glob("inference/*.proto"))
    outputs = [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
    outputs += [f"--plugin={TYPED_SERVICES.name}={TYPED_SERVICES}", f"--mypy_grpc_out=quiet:{destination}"]
    folders = [f"-I{KSERVE}={PROTOS / 'inference'}", f"-I{PROTOS}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    _run(*folders, *outputs, *ours, *foreign)
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder) / "described"
        _run(*folders, f"--descriptor_set_out={described}", "--include_source_info", *ours)
        descriptions = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes())
    comments = dict(sorted(comment for file in descriptions.file for comment in comments_of(file)))
    text = json.dumps(comments, indent=1, ensure_ascii=False) + "\n"
    (destination / "beamstep/v1/comments.json").write_text(text, encoding="utf-8")


def _run(*arguments: str) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("protoc failed")


def comments_of(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Return the comments of one proto, each with the full name of what it stands at; those of values under their enum's."""
    for location in file.source_code_info.location:
        if not location.leading_comments:
            continue
        path, names, node = list(location.path), [file.package], file
        while path:
            field = node.DESCRIPTOR.fields_by_number[path.pop(0)]
            if not path:
                break  # the syntax, the package or an option
            node = getattr(node, field.name)[path.pop(0)]
            names.append(node.name)
        else:
            yield ".".join(names), " ".join(location.leading_comments.split())


if __name__ == "__main__":
    generate(REPOSITORY)
