"""Bundles on disk: written beside, checked, renamed."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx
from pydantic import TypeAdapter, ValidationError

from export.errors import ExportError
from export.onnx_writer import Graphs, signature
from serving.bundle import sha256_of
from serving.manifest import FileSpec, GraphSpec, PlainName, Precision, Tokenizers
from serving.manifest import Graphs as GraphSpecs

TOOLS: Final = ("numpy", "onnx", "onnxruntime", "torch")
_PLAIN_NAME: Final = TypeAdapter[str](PlainName)


@contextmanager
def staged(output: Path, name: str, version: str, *, replace: bool) -> Iterator[Path]:
    """Give a folder to write a bundle into, and make it `output/name/version` when the block ends without an error.

    The folder lies where no server looks for bundles; whatever goes wrong, it is removed and nothing is published. A
    replaced version is moved away by one rename and the new one takes its place by another.

    Raises:
        ExportError: see `published_folder`.
    """
    final = published_folder(output, name, version, replace=replace)
    staging = output / f".{name}-{version}-{os.getpid()}.partial"
    staging.mkdir(parents=True)
    try:
        yield staging
        final.parent.mkdir(parents=True, exist_ok=True)
        replaced = staging.with_suffix(".replaced")
        if final.exists():
            final.rename(replaced)
        try:
            staging.rename(final)
        except OSError:
            if replaced.exists():
                replaced.rename(final)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def published_folder(output: Path, name: str, version: str, *, replace: bool) -> Path:
    """Return the folder that a bundle is published as.

    Raises:
        ExportError: a name or version that would lie elsewhere; or that version is there and may not be replaced.
    """
    for option, given in (("--name", name), ("--bundle-version", version)):
        try:
            _PLAIN_NAME.validate_python(given)
        except ValidationError as error:
            raise ExportError(
                f"{option}: given {given!r}; allowed: up to 100 letters, digits and . _ -, a letter or digit first"
            ) from error
    final = output / name / version
    if final.exists() and not replace:
        raise ExportError(f"{final}: is there already; give another --bundle-version, or --replace")
    return final


def write_graph_files(folder: Path, graphs: Graphs, precision: Precision = "fp32") -> GraphSpecs:
    """Write both graphs of a precision, and return what the manifest says of them."""
    return GraphSpecs(
        encoder=_write_graph(folder / f"encoder.{precision}.onnx", graphs.encoder),
        decoder_step=_write_graph(folder / f"decoder_step.{precision}.onnx", graphs.decoder_step),
    )


def copy_tokenizers(folder: Path, files: Mapping[str, Path]) -> Tokenizers:
    """Copy `source.model` and `target.model`, those that there are, and return what the manifest says of them."""
    specs = {}
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
        specs[name.removesuffix(".model")] = FileSpec(file=name, sha256=sha256_of(folder / name))
    return Tokenizers(**specs)


def git_commit(folder: Path) -> str:
    """Return the commit that the code in `folder` is at, `-dirty` behind it where files differ; "unknown" outside git."""
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, check=False).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-dirty" if changed else "")


def tool_versions() -> tuple[str, ...]:
    """Return what made the bundle, as `name==version`."""
    tools = (f"{name}=={importlib.metadata.version(name)}" for name in TOOLS)
    return (f"python=={platform.python_version()}", *tools)


def _write_graph(path: Path, model: onnx.ModelProto) -> GraphSpec:
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return GraphSpec(
        file=path.name,
        sha256=sha256_of(path),
        inputs=signature(model.graph.input),
        outputs=signature(model.graph.output),
    )
