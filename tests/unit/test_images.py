"""Image files of every kind become pixels or a sentence that names what is wrong."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from serving.errors import BadConfiguration, InvalidRequest
from serving.tasks.image_files import MOST_CHUNKS, MOST_SEGMENTS, lean
from serving.tasks.images import PIXEL_LIMIT, ImageLimits, decode_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(colour, mode="RGB", size=(32, 32)) -> Image.Image:
    return Image.new(mode, size, colour)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
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


def with_chunks(*chunks: bytes) -> bytes:
    """A red PNG with chunks before its pixels."""
    data = file_of(plain(RED))
    return data[:33] + b"".join(chunks) + data[33:]


def with_segments(*segments: bytes) -> bytes:
    """A red JPEG with segments before all others."""
    data = file_of(plain(RED), "JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def with_scans(count: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG whose last scan comes so often."""
    data = file_of(plain(100, "L", size), "JPEG", progressive=True)
    begin, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[begin:end] * (count - data.count(b"\xff\xda")) + data[end:]


def zeros(mebibytes: int) -> bytes:
    return zlib.compress(bytes(mebibytes * 2**20), 9)


def late(chunk: bytes) -> bytes:
    data = file_of(plain(RED))
    return data[:-12] + chunk + data[-12:]


MANY = "more than 20,000 chunks; allowed: what cameras and programs write"
SEGMENTS = "more than 5,000 segments; allowed: what cameras and programs write"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(with_chunks(chunk(b"zTXt", b"a\0\0" + zeros(80))), "of another kind", id="text of 80 MB"),
        pytest.param(with_chunks(chunk(b"iCCP", b"a\0\0" + zeros(80))), "of another kind", id="profile of 80 MB"),
        pytest.param(with_chunks(*[chunk(b"zTXt", b"a\0\0" + zeros(1)[:-4])] * 80), "of another kind", id="80 texts"),
        pytest.param(
            late(chunk(b"zTXt", b"a\0\0" + zeros(80))), "image: a damaged PNG file; allowed: a whole", id="late"
        ),
        pytest.param(with_chunks(*[chunk(b"IDAT", b"")] * MOST_CHUNKS), MANY, id="empty chunks"),
        pytest.param(with_chunks(*[chunk(b"abCd", b"")] * MOST_CHUNKS), MANY, id="chunks of no kind"),
        pytest.param(with_segments(*[b"\xff\xfe\0\2"] * MOST_SEGMENTS), SEGMENTS, id="empty comments"),
        pytest.param(with_segments(b"\xff" * MOST_SEGMENTS), SEGMENTS, id="fill bytes"),
        pytest.param(with_segments(b"\xff\xfe\0\2", bytes(MOST_SEGMENTS)), SEGMENTS, id="junk between segments"),
        pytest.param(b"\xff\xd8\xff\xe0\0\2" + bytes(10**6), SEGMENTS, id="junk to the end"),
        pytest.param(b"\xff\xd8\xff\xe0", "of another kind", id="nothing but a marker"),
        pytest.param(with_scans(1100, (1000, 1000)), "a file of 1,100 scans; allowed: what cameras", id="scans"),
    ],
)
def test_a_file_made_to_keep_the_decoder_busy_is_refused(data, message):
    with pytest.raises(InvalidRequest) as caught:
        decode_image(data, 8, 12)
    assert message in str(caught.value)
    assert "Pillow" not in str(caught.value)
    assert "Plugin" not in str(caught.value)


def test_a_progressive_photo_is_none_of_that():
    assert decode_image(with_scans(100, (100, 100)), 8, 12).mean() == pytest.approx(100, abs=1)


def test_a_decoder_sees_nothing_of_a_jpegs_metadata_but_how_it_lies():
    entries = b"".join(struct.pack("<HHII", 1000 + entry, 7, 60_000, 8) for entry in range(5000))
    exif = (
        b"Exif\0\0II*\0" + struct.pack("<IH", 8, 5000) + entries
    )  # Pillow warns of each, and warnings are errors here
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    profile = b"\xff\xe2" + struct.pack(">H", 102) + bytes(100)
    data = with_segments(segment, profile)
    assert decode_image(data, 8, 12).shape == (8, 12, 3)
    assert lean(data).data == file_of(plain(RED), "JPEG")
    assert lean(data).exif == exif
    assert decode_image(with_chunks(chunk(b"eXIf", exif[6:])), 8, 12).shape == (8, 12, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("order", ["little", "big"])
def test_photos_lie_as_pillow_says(kind, orientation, order):
    corners = Image.new("RGB", (64, 48), "black")
    corners.paste(RED, (0, 0, 32, 24))
    corners.paste(GREEN, (32, 0, 64, 24))
    exif = Image.Exif()
    exif.endian = "<" if order == "little" else ">"
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    data = file_of(corners, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert (decode_image(data, expected.height, expected.width) == np.asarray(expected)).all()


def test_an_operator_may_set_other_limits():
    data = file_of(plain(RED, size=(40, 50)))
    assert decode_image(data, 8, 12, ImageLimits(len(data), 2000)).shape == (8, 12, 3)
    with pytest.raises(InvalidRequest, match=f"image: {len(data)} bytes; allowed: up to {len(data) - 1} bytes"):
        decode_image(data, 8, 12, ImageLimits(len(data) - 1))
    with pytest.raises(InvalidRequest, match="image: 40 x 50 pixels; allowed: up to 1,999 pixels"):
        decode_image(data, 8, 12, ImageLimits(pixels=1999))


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"file_bytes": 0}, "max_image_mb: 0; allowed: above 0"), ({"pixels": 0}, "max_pixels: 0; allowed: from 1")],
)
def test_limits_that_let_nothing_through_are_refused(limits, message):
    with pytest.raises(BadConfiguration, match=message):
        ImageLimits(**limits)


def test_pillow_is_never_told_to_guess_the_rest_of_a_file():
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
