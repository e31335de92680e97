"""Image files of every kind become pixels or a sentence that names what is wrong."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from serving.errors import InvalidRequest
from serving.tasks.images import PIXEL_LIMIT, decode_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(colour, mode="RGB", size=(32, 32)) -> Image.Image:
    return Image.new(mode, size, colour)


def header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def palette() -> Image.Image:
    return plain(RED).quantize(4)


def see_through_palette() -> bytes:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([*RED, *GREEN])
    return file_of(image, transparency=0)


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        pytest.param(file_of(plain(RED)), RED, id="png"),
        pytest.param(file_of(plain(RED), "WEBP", lossless=True), RED, id="webp"),
        pytest.param(file_of(plain(RED), "JPEG", quality=100), (254, 0, 0), id="jpeg"),
        pytest.param(file_of(plain((0, 255, 255, 0), "CMYK"), "JPEG", quality=100), (254, 0, 0), id="cmyk"),
        pytest.param(file_of(plain(100, "L")), (100, 100, 100), id="grey"),
        pytest.param(file_of(plain(100, "L"), "JPEG"), (100, 100, 100), id="grey jpeg"),
        pytest.param(file_of(plain(1, "1")), WHITE, id="black and white"),
        pytest.param(file_of(palette()), RED, id="palette"),
        pytest.param(see_through_palette(), WHITE, id="transparent palette"),
        pytest.param(file_of(plain((255, 0, 0, 0), "RGBA")), WHITE, id="transparent"),
        pytest.param(file_of(plain((255, 0, 0, 255), "RGBA")), RED, id="opaque with alpha"),
        pytest.param(file_of(plain((255, 0, 0, 128), "RGBA")), (255, 127, 127), id="half transparent"),
        pytest.param(file_of(plain((100, 0), "LA")), WHITE, id="transparent grey"),
        pytest.param(file_of(plain(RED), transparency=RED), WHITE, id="transparent colour"),
        pytest.param(file_of(Image.fromarray(np.full((32, 32), 0x6480, np.uint16))), (100, 100, 100), id="16-bit grey"),
        pytest.param(
            file_of(plain(RED), "WEBP", save_all=True, append_images=[plain(BLUE)], lossless=True),
            RED,
            id="animated webp",
        ),
        pytest.param(file_of(plain(RED), save_all=True, append_images=[plain(BLUE)]), RED, id="animated png"),
        pytest.param(file_of(plain(RED, size=(1, 1))), RED, id="one pixel"),
        pytest.param(file_of(plain(RED, size=(5000, 1))), RED, id="one line"),
    ],
)
def test_every_kind_of_image_becomes_rgb_of_the_size_asked_for(data, colour):
    pixels = decode_image(data, 8, 12)
    assert pixels.shape == (8, 12, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - colour).max() <= 1


def test_an_image_of_the_right_size_is_left_as_it_is():
    pixels = np.random.default_rng(5).integers(0, 256, (8, 12, 3), np.uint8)
    assert (decode_image(file_of(Image.fromarray(pixels)), 8, 12) == pixels).all()


def test_a_photo_taken_sideways_is_turned_upright():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20] = RED  # red above black
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned = decode_image(file_of(Image.fromarray(pixels), "JPEG", exif=exif, quality=100), 8, 8).astype(int)
    assert (turned[:, 5:, 0] > 200).all(), "red on the right"
    assert (turned[:, :3, 0] < 50).all(), "black on the left"


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA")])
def test_a_large_photo_decoded_at_a_fraction_of_its_size_looks_the_same(kind, mode):
    rng = np.random.default_rng(6)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((1600, 1200), Image.Resampling.BICUBIC)
    fast = decode_image(file_of(smooth.convert(mode), kind, quality=95), 224, 224).astype(int)
    whole = np.asarray(smooth.resize((224, 224), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(fast - whole).mean() < 1.5


MEASURE = """
import resource, sys
from serving.tasks.images import decode_image
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_image(data, 224, 224)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize(("mode", "copies"), [("RGB", 1), ("RGBA", 2)])
def test_a_large_image_is_held_no_oftener_than_needed(mode, copies):
    data = file_of(Image.new(mode, (4000, 4000), "red"), compress_level=1)
    done = subprocess.run([sys.executable, "-c", MEASURE], input=data, capture_output=True, check=True)
    one = 4000 * 4000 * 4
    assert int(done.stdout) < (copies + 0.7) * one


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "image: empty; allowed: the bytes of a JPEG, PNG or WebP file", id="empty"),
        pytest.param(b"holiday.jpg is text", "image: 19 bytes of another kind", id="text named .jpg"),
        pytest.param(file_of(plain(RED), "GIF"), "of another kind; allowed: a JPEG, PNG or WebP file", id="gif"),
        pytest.param(file_of(plain(RED), "BMP"), "of another kind", id="bmp"),
        pytest.param(file_of(plain(RED, size=(200, 200)), "JPEG")[:700], "a damaged JPEG file", id="truncated jpeg"),
        pytest.param(file_of(plain(RED, size=(200, 200)))[:90], "a damaged PNG file", id="truncated png"),
        pytest.param(file_of(plain(RED), "WEBP")[:40], "image: ", id="truncated webp"),
        pytest.param(header_of(20, 20), "a damaged PNG file", id="no pixels"),
        pytest.param(
            header_of(20_000, 20_000),
            "image: 20000 x 20000 pixels; allowed: up to 50,000,000 pixels",
            id="20,000 squared",
        ),
        pytest.param(header_of(PIXEL_LIMIT + 1, 1), "pixels; allowed", id="one pixel too many"),
    ],
)
def test_a_file_that_is_no_image_or_too_large_is_refused_by_name(data, message):
    with pytest.raises(InvalidRequest) as caught:
        decode_image(data, 8, 12)
    assert caught.value.field == "image"
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_random_damage_never_escapes_as_another_error(kind):
    rng = np.random.default_rng(8)
    data = file_of(Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)), kind)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            damaged[place] = rng.integers(0, 256)
        try:
            assert decode_image(bytes(damaged), 8, 12).shape == (8, 12, 3)
        except InvalidRequest:
            refused += 1
    assert refused > 10
