"""Image files to pixels; whatever is in the file, the answer is a small RGB array or a sentence that says what is wrong."""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from serving.errors import InvalidRequest

FORMATS: Final = ("JPEG", "PNG", "WEBP")
PIXEL_LIMIT: Final = 50_000_000
"""Most pixels an image may have; a decoded pixel takes up to 4 bytes, and a file of a few kB can hold many."""

# Pillow's own limit warns, through a filter all threads share; `decode_image` checks before it decodes anything.
Image.MAX_IMAGE_PIXELS = None


def decode_image(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG or WebP file and resize it, its aspect ratio not kept.

    EXIF orientation is applied, transparency lies on white, an animation gives its first frame, and 16-bit grey is scaled down.
    Colour profiles are ignored, as in training.

    Args:
        data: the file's bytes.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        InvalidRequest: `image` is no such file, is damaged, or has more than `PIXEL_LIMIT` pixels.
    """
    if not data:
        raise InvalidRequest("image", "empty", "the bytes of a JPEG, PNG or WebP file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (
        Exception
    ) as error:  # Pillow's readers raise nearly anything on damaged bytes, struct.error and SyntaxError among it
        raise InvalidRequest("image", f"{len(data)} bytes of another kind", "a JPEG, PNG or WebP file") from error
    if image.width * image.height > PIXEL_LIMIT:
        raise InvalidRequest("image", f"{image.width} x {image.height} pixels", f"up to {PIXEL_LIMIT:,} pixels")
    try:
        return _pixels(image, height, width)
    except Exception as error:  # as above
        raise InvalidRequest("image", f"a damaged {image.format} file ({error})", "a whole file") from error


def _pixels(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    # A JPEG much larger than asked for is decoded at a fraction of its size, still at least twice the result's.
    image.draft(None, (2 * max(width, height), 2 * max(width, height)))
    ImageOps.exif_transpose(image, in_place=True)
    rgb = _to_rgb(image, width, height)
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def _to_rgb(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the image in RGB, one much larger than asked for at a fraction of its size, like a JPEG.

    No step makes a copy that it can do without: at `PIXEL_LIMIT` each is 200 MB.
    """
    if image.mode.startswith("I"):
        # 16-bit grey: convert() would clip everything above 255 to white.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    layer = image if image.mode == mode else image.convert(mode)
    factor = min(layer.width // (2 * width), layer.height // (2 * height))
    if factor > 1:
        layer = layer.reduce(factor)
    if mode == "RGB":
        return layer
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
