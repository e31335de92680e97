"""Lines of a text file, plain or gzip."""

import gzip
import zlib
from pathlib import Path

from serving.errors import BeamstepError

GZIP_MAGIC = b"\x1f\x8b"


class BadData(BeamstepError):  # noqa: N818 - named by what it is, STYLE.md section 4
    """The caller must change a data file: it is missing, empty, or a line of it is malformed."""


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file, plain or gzip, told apart by its first bytes and not by its name.

    A line ends at a newline and nowhere else: the other separators of Unicode (U+0085, U+2028, ...) may stand inside a
    sentence, and splitting there would shift every line that follows against its reference.

    Returns:
        the lines without their ends; a newline at the end of the file starts no further line.

    Raises:
        BadData: the file is missing, empty, a damaged gzip file or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path}: {error.strerror or error}") from None
    if content.startswith(GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise BadData(f"{path}: a damaged gzip file: {error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadData(f"{path}:{line}: not UTF-8: {error.reason}") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise BadData(f"{path}: the file is empty")
    return lines
