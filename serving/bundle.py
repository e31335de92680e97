"""A bundle on disk: one folder that describes itself. Loading checks all of it, or says which file is wrong."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from serving.errors import BadBundle
from serving.manifest import FORMAT, FileSpec, GraphSpec, Manifest
from serving.old_formats import READERS
from serving.seal import unsealed

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        folder: models/<name>/<version>.
        manifest: what it says of itself.
        manifest_json: the same, byte for byte as in the folder.
        edition: tells it from another content that was served under the same name and version before; else "".
    """

    folder: Path
    manifest: Manifest
    manifest_json: str
    edition: str = ""

    def path(self, spec: GraphSpec | FileSpec) -> Path:
        """Return where a file of this bundle lies."""
        return self.folder / spec.file

    @cached_property
    def identity(self) -> str:
        """Return a hash of the manifest, which has one of every file: another content under the same name has another."""
        return hashlib.sha256(self.manifest_json.encode(errors="surrogatepass")).hexdigest()

    @property
    def key(self) -> str:
        """Name and version in one string, for logs and errors."""
        return f"{self.manifest.name}/{self.manifest.version}"

    @property
    def lane(self) -> str:
        """Name, version and edition in one string: the engine's key."""
        return f"{self.key}#{self.edition}" if self.edition else self.key

    @property
    def content(self) -> str:
        """Return a hash of the whole bundle: of the manifest, which has the hash of every other file."""
        return hashlib.sha256(self.manifest_json.encode()).hexdigest()


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check its format number, its manifest, and the presence and hash of every file.

    Raises:
        BadBundle: the folder holds no bundle this version can serve; the message names the file and what is wrong with it.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadBundle(f"{path}: missing; a bundle is a folder with a {MANIFEST_FILE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadBundle(f"{path}: unreadable: {error}") from None
    bundle = Bundle(folder, _parse_manifest(path, text), text)
    for spec in _files(bundle.manifest):
        _check_hash(bundle.path(spec), spec.sha256)
    return bundle


def find_bundles(models: Path) -> list[Path]:
    """List the bundle folders under `models/<name>/<version>/`, by name, then latest version first; hidden ones are none.

    Raises:
        BadBundle: `models` is not a folder, or holds no bundle.
    """
    if not models.is_dir():
        raise BadBundle(f"{models}: not a folder; expected models/<name>/<version>/{MANIFEST_FILE}")
    folders = bundle_folders(models)
    if not folders:
        raise BadBundle(f"{models}: no bundle in it; expected models/<name>/<version>/{MANIFEST_FILE}")
    latest_first = sorted(folders, key=lambda folder: version_order(folder.name), reverse=True)
    return sorted(latest_first, key=lambda folder: folder.parent.name)


def bundle_folders(models: Path) -> list[Path]:
    """List the bundle folders in any order; a hidden folder is one that is being written or removed."""
    folders = (path.parent for path in models.glob(f"*/*/{MANIFEST_FILE}"))
    return [folder for folder in folders if not folder.name.startswith(".") and not folder.parent.name.startswith(".")]


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Order versions as people do: 2 before 10, numbers before words."""
    parts = [part for part in re.split(r"[._-]|(?<=\d)(?=\D)|(?<=\D)(?=\d)", version) if part]
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def check_manifest(path: Path, content: object) -> Manifest:
    """Return the manifest with a content of this version's format.

    Raises:
        BadBundle: it is none; the message names the file and every fault.
    """
    try:
        return Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'manifest'}: {fault['msg']}" for fault in error.errors()
        )
        raise BadBundle(f"{path}: {faults}") from None


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse_manifest(path: Path, text: str) -> Manifest:
    try:
        content = _content(text)
    except BadBundle as error:
        raise BadBundle(f"{path}: {error}") from None
    return check_manifest(path, content)


def _content(text: str) -> object:
    """Return the manifest's content in this version's format, its seal checked and taken off; messages do not name the file."""
    try:
        raw = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadBundle(f"not JSON: {error}") from None
    number = raw.get("format") if isinstance(raw, dict) else None
    # `True` is an int and equals 1.
    if type(number) is int and number in READERS:
        return READERS[number](raw)
    if type(number) is not int or number != FORMAT:
        readable = ", ".join(map(str, (*READERS, FORMAT)))
        raise BadBundle(
            f"format: {number!r}; allowed: {readable}. Export its run again with this version: "
            "beamstep export runs/NAME --data DIR --replace"
        )
    return unsealed(raw)


def _files(manifest: Manifest) -> list[GraphSpec | FileSpec]:
    others = (manifest.tokenizers.source, manifest.tokenizers.target, manifest.references)
    graphs = [spec for pair in manifest.graphs.values() for spec in (pair.encoder, pair.decoder_step)]
    return [*graphs, *(spec for spec in others if spec is not None)]


def _check_hash(path: Path, expected: str) -> None:
    if not path.is_file():
        raise BadBundle(f"{path}: missing; the manifest names it")
    actual = sha256_of(path)
    if actual != expected:
        raise BadBundle(f"{path}: its sha256 is {actual}, the manifest says {expected}: truncated or altered")
