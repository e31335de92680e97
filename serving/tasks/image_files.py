"""Image files taken apart before a decoder sees them, since small files can keep one busy for minutes.

Pillow reads chunks and segments one by one in Python, holding the interpreter; it warns of every odd entry of EXIF data, of
which there can be thousands; and libjpeg goes over all pixels once a scan, so that 200 kB of empty scans take half a minute.
"""

from typing import Final, Literal, NamedTuple

PNG: Final = b"\x89PNG\r\n\x1a\n"
JPEG: Final = b"\xff\xd8"
MOST_CHUNKS: Final = 20_000
"""Of a PNG; 16 MB in the 8 kB chunks that libpng writes are 2,000."""
MOST_SEGMENTS: Final = 5_000
"""Of a JPEG before its first scan, bytes between them counted too; a colour profile has up to 255."""
SCANS_AT_LIMIT: Final = 20
"""Of a JPEG of as many pixels as are allowed, and more of a smaller one in proportion; a progressive photo has about 10."""
SCAN: Final = 0xDA
ALONE: Final = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
"""JPEG markers without a length behind them."""
EXIF_SEGMENT: Final = 0xE1
LEFT_OUT: Final = frozenset({0xFE, *range(0xE1, 0xF0)}) - {0xEE}
"""JPEG segments that say nothing of how to decode; 0xE0 and 0xEE do, JFIF's and Adobe's."""
ORIENTATION: Final = 0x0112
MOST_ENTRIES: Final = 1_000
"""Of EXIF's first directory; a camera writes some 20."""


class TooMuch(Exception):  # noqa: N818 - named by what it is
    """A file has more parts than any camera or program writes; the message says of what."""


class Lean(NamedTuple):
    """A file as the decoder is to see it.

    Attributes:
        data: the file, a JPEG's without its metadata.
        exif: what a JPEG had of it; b"" of other files.
        scans: of a JPEG; 1 of others.
    """

    data: bytes
    exif: bytes
    scans: int


def lean(data: bytes) -> Lean:
    """Return a file, damaged or not, as the decoder is to see it.

    Raises:
        TooMuch: it has too many chunks or segments.
    """
    if data.startswith(PNG):
        _check_chunks(data)
    if data.startswith(JPEG):
        return _lean_jpeg(data)
    return Lean(data, b"", 1)  # WebP is read in C, in one go


def check_scans(scans: int, pixels: int, pixel_limit: int) -> None:
    """Refuse a JPEG that would be gone over too often.

    Raises:
        TooMuch: it has too many scans for its pixels.
    """
    if scans > SCANS_AT_LIMIT * pixel_limit // max(1, pixels):
        raise TooMuch(f"{scans:,} scans")


def orientation(exif: bytes) -> int:
    """Return how a photo lies, 1 to 8 as EXIF counts; 1, upright, where it does not say."""
    tiff = exif.removeprefix(b"Exif\0\0")
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(tiff[:2])
    if order is None:
        return 1
    start = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[start : start + 2], order)
    for place in range(start + 2, start + 2 + 12 * min(entries, MOST_ENTRIES), 12):
        if int.from_bytes(tiff[place : place + 2], order) == ORIENTATION:
            value = int.from_bytes(tiff[place + 8 : place + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _check_chunks(data: bytes) -> None:
    place = len(PNG)
    for _ in range(MOST_CHUNKS):
        if place >= len(data):
            return
        place += 12 + int.from_bytes(data[place : place + 4])
    if place < len(data):
        raise TooMuch(f"more than {MOST_CHUNKS:,} chunks")


def _lean_jpeg(data: bytes) -> Lean:
    kept, exif = [JPEG], b""
    place, count = len(JPEG), 0
    while True:
        mark = data.find(b"\xff", place)
        count += 1 + (mark if mark >= 0 else len(data)) - place
        if count > MOST_SEGMENTS:
            raise TooMuch(f"more than {MOST_SEGMENTS:,} segments")
        marker = data[mark + 1] if 0 <= mark < len(data) - 1 else None
        if marker is None:  # no scan: what is left is for the decoder to complain of
            return Lean(b"".join(kept), exif, 0)
        if marker == SCAN:
            return Lean(b"".join([*kept, data[mark:]]), exif, data.count(bytes([0xFF, SCAN]), mark))
        if marker == 0xFF or marker in ALONE:
            place = mark + (1 if marker == 0xFF else 2)
            continue
        place = mark + 2 + max(2, int.from_bytes(data[mark + 2 : mark + 4]))
        segment = data[mark:place]
        if marker not in LEFT_OUT:
            kept.append(segment)
        elif marker == EXIF_SEGMENT and segment[4:].startswith(b"Exif\0\0") and not exif:
            exif = segment[4:]
