"""Image files to pixels; whatever is in the file, the answer is a small RGB array or a sentence that says what is wrong."""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.errors import BadConfiguration, InvalidRequest
from serving.tasks.image_files import TooMuch, check_scans, lean, orientation

UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a photo upright, by its EXIF orientation."""
FORMATS: Final = ("JPEG", "PNG", "WEBP")
PIXEL_LIMIT: Final = 50_000_000
"""Most pixels of an image unless the operator says otherwise; decoded, one takes up to 4 bytes, and 34 bytes can hold many."""

# Pillow's own limit warns, through a filter all threads share; `decode_image` checks before it decodes anything.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be, checked before it is decoded.

    Attributes:
        file_bytes: of its file; None leaves it to the limit of messages.
        pixels: width times height.
    """

    file_bytes: int | None = None
    pixels: int = PIXEL_LIMIT

    def __post_init__(self) -> None:
        if self.file_bytes is not None and self.file_bytes < 1:
            raise BadConfiguration(f"max_image_mb: {self.file_bytes / 2**20:g}; allowed: above 0")
        if self.pixels < 1:
            raise BadConfiguration(f"max_pixels: {self.pixels}; allowed: from 1")


DEFAULT_LIMITS: Final = ImageLimits()


def decode_image(data: bytes, height: int, width: int, limits: ImageLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG or WebP file and resize it, its aspect ratio not kept.

    EXIF orientation is applied, transparency lies on white, an animation gives its first frame, and 16-bit grey is scaled down.
    Colour profiles are ignored, as in training.

    Args:
        data: the file's bytes.
        height: rows of the result.
        width: columns of the result.
        limits: how large the image may be.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        InvalidRequest: `image` is no such file, is damaged, larger than allowed, or of more parts than any program writes.
    """
    if not data:
        raise InvalidRequest("image", "empty", "the bytes of a JPEG, PNG or WebP file")
    if limits.file_bytes is not None and len(data) > limits.file_bytes:
        raise InvalidRequest("image", f"{len(data):,} bytes", f"up to {limits.file_bytes:,} bytes")
    try:
        return _decode(data, height, width, limits.pixels)
    except TooMuch as error:
        raise InvalidRequest("image", f"a file of {error}", "what cameras and programs write") from None


def _decode(data: bytes, height: int, width: int, pixel_limit: int) -> NDArray[np.uint8]:
    file = lean(data)
    try:
        image = Image.open(io.BytesIO(file.data), formats=FORMATS)
    except (
        Exception
    ) as error:  # Pillow's readers raise nearly anything on damaged bytes, struct.error and SyntaxError among it
        raise InvalidRequest("image", f"{len(data)} bytes of another kind", "a JPEG, PNG or WebP file") from error
    pixels = image.width * image.height
    if pixels > pixel_limit:
        raise InvalidRequest("image", f"{image.width} x {image.height} pixels", f"up to {pixel_limit:,} pixels")
    check_scans(file.scans, pixels, pixel_limit)
    exif = file.exif or image.info.get("exif", b"")
    try:
        return _pixels(image, height, width, orientation(exif))
    except Exception as error:  # as above; what Pillow says of it is of its own inside
        raise InvalidRequest("image", f"a damaged {image.format} file", "a whole file") from error


def _pixels(image: Image.Image, height: int, width: int, lies: int) -> NDArray[np.uint8]:
    # A JPEG much larger than asked for is decoded at a fraction of its size, still at least twice the result's.
    image.draft(None, (2 * max(width, height), 2 * max(width, height)))
    if lies in UPRIGHT:
        image = image.transpose(UPRIGHT[lies])
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
