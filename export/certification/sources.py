"""Encoder inputs: one source's arrays as the encoder takes them, and sources drawn at random."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.manifest import TaskName
from serving.tasks.text import Tokenizer

Source = dict[str, NDArray[Any]]
"""Each encoder input of one source, without the batch axis and without padding."""

SEED: Final = "picture_seed"
"""Beside the image of a source that `picture` drew: what it was drawn with. No encoder reads it; it is all that is kept of it."""


def random_source(task: TaskName, random: np.random.Generator, length: int, like: Sequence[Source]) -> Source:
    """Draw a source of `length` positions: a picture, points in a box anywhere, or ids that occur in the sources `like`."""
    if task == "captioning":
        height, width, _ = like[0]["image"].shape
        return drawn_picture(int(random.integers(2**31)), height, width)
    if task == "translation":
        known = np.unique(np.concatenate([source["source_tokens"] for source in like]))
        tokens = np.append(random.choice(known, length - 1), like[0]["source_tokens"][-1])
        return {"source_tokens": tokens, "source_lengths": np.array(length)}
    corner, size = random.uniform(-1000, 1000, 2), random.uniform(0.01, 1000)
    return {"points": corner + size * random.random((length, 2)), "point_counts": np.array(length)}


def likeness(bundle: Bundle) -> Source:
    """Return a source to draw random ones like where no real one is known: of text all pieces, then `eos`; a black picture."""
    manifest = bundle.manifest
    if manifest.image is not None:
        return {"image": np.zeros((manifest.image.height, manifest.image.width, 3), np.uint8)}
    if manifest.tokenizers.source is None:
        return {}
    vocabulary = manifest.vocabulary
    pieces = np.arange(Tokenizer(bundle.path(manifest.tokenizers.source)).size)
    said = np.setdiff1d(pieces, [vocabulary.pad, vocabulary.bos, vocabulary.eos])
    return {"source_tokens": np.append(said, vocabulary.eos)}


def drawn_picture(seed: int, height: int, width: int) -> Source:
    """Draw a picture, and remember its seed."""
    return {"image": picture(seed, height, width), SEED: np.array(seed)}


def picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Draw (height, width, 3) uint8 RGB: a gradient between two colours, a few discs and boxes on it, and some noise.

    Photos of data sets may not travel in a bundle; these have edges, areas and colours too, and are the same on every machine:
    whole numbers throughout, of the raw stream, which is all that NumPy promises to keep from version to version.
    """
    stream = np.random.Philox(seed)

    def draw(count: int, high: int) -> NDArray[np.int64]:
        return (stream.random_raw(count) % np.uint64(high)).astype(np.int64)

    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    first, second = draw(3, 256), draw(3, 256)
    down, right = 1 + draw(2, 4)
    along = rows * down + columns * right
    image: NDArray[np.int64] = first + (second - first) * along // along.max()
    for _ in range(2 + int(draw(1, 5)[0])):
        row, column, size, round_ = draw(4, np.iinfo(np.int32).max)
        vertical, horizontal = abs(rows - row % height), abs(columns - column % width)
        radius = 8 + size % (1 + height // 3)
        is_disc = round_ % 2 == 0
        inside = vertical**2 + horizontal**2 < radius**2 if is_disc else np.maximum(vertical, horizontal) < radius
        image = np.where(inside, draw(3, 256), image)
    noise = 1 + int(draw(1, 24)[0])
    image = image + draw(image.size, 2 * noise + 1).reshape(image.shape) - noise
    return image.clip(0, 255).astype(np.uint8)
