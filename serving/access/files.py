"""Files that an operator may replace while the server runs."""

from pathlib import Path
from typing import NamedTuple

from serving.errors import BadConfiguration


class Stamp(NamedTuple):
    """What changes with a file's content, however it is replaced."""

    inode: int
    size: int
    modified_ns: int


def stamp_of(path: Path) -> Stamp | None:
    """Return a file's stamp, that of its target where it is a link; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def read(option: str, path: Path) -> bytes:
    """Read a file.

    Raises:
        BadConfiguration: it cannot be read; the message begins with the option that names it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfiguration(
            f"{option}: {path}: {error.strerror}; allowed: a file that the server may read"
        ) from None
