"""Image files that are small and take long to decode."""

import io

from PIL import Image


def large_webp(width: int = 7000, height: int = 7000, colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    """Return a WebP of one colour in 34 bytes, whatever its size: every symbol of its five codes takes no bits."""
    red, green, blue = colour
    value, place = 0, 0
    fields = [
        (0x2F, 8),
        (width - 1, 14),
        (height - 1, 14),
        (0, 1 + 3),
        (0, 3),
    ]  # no alpha, version 0; nothing of the rest
    for symbol in (green, red, blue, 255, 0):
        fields += [(1, 1), (0, 1), (1, 1), (symbol, 8)]  # a simple code of one symbol, which has eight bits
    for field, bits in fields:
        value |= field << place
        place += bits
    body = value.to_bytes(14, "little")
    chunk = b"VP8L" + (13).to_bytes(4, "little") + body
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """Return an image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
