"""What lies in models/<name>/<version>/, and whether it changed since: by names, sizes and times, without reading a file."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.bundle import bundle_folders


@dataclass(frozen=True)
class Found:
    """A folder with a manifest.

    Attributes:
        folder: models/<name>/<version>.
        fingerprint: changes whenever a file is written, renamed, added or removed.
    """

    folder: Path
    fingerprint: str

    @property
    def name(self) -> str:
        """Return the model's name by its folder."""
        return self.folder.parent.name

    @property
    def version(self) -> str:
        """Return the version by its folder."""
        return self.folder.name

    @property
    def key(self) -> str:
        """Return name and version in one string."""
        return f"{self.name}/{self.version}"


def scan(models: Path) -> dict[str, Found]:
    """Return what is there by key; a folder of models that cannot be read holds nothing."""
    found = (Found(folder, fingerprint(folder)) for folder in bundle_folders(models))
    return {one.key: one for one in found}


def fingerprint(folder: Path) -> str:
    """Return what changes with every file of a folder: inode, size and time of change of each, as its hash."""
    files = []
    with suppress(FileNotFoundError):  # it was renamed or removed meanwhile, and will look another way the next time
        for path in sorted(folder.rglob("*")):
            status = path.stat()
            files.append((str(path.relative_to(folder)), status.st_ino, status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(files).encode()).hexdigest()
