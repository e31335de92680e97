"""What a model looked at: a matrix of target by source positions, and a photo as each word of its caption saw it."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from beamstep.pictures.file import BadPicture
from beamstep.pictures.style import RIGHT, plain, styled

if TYPE_CHECKING:
    from beamstep.v1.captioning_pb2 import AttentionGrid
    from beamstep.v1.decoding_pb2 import Decoding

Weights = NDArray[np.float64]

WORD_BEGINS: Final = "\u2581"  # sentencepiece's sign of a space
CELL_INCHES: Final = 0.36
MARGIN_INCHES: Final = 2.0
TILE_PIXELS: Final = 224
TILE_INCHES: Final = 1.75
TILES_IN_A_ROW: Final = 5
LEAST_CLEAR: Final = 0.3
"""What is left of a photo where nothing looked, so that one sees what was passed over."""
OUTLINED: Final = 0.5
"""An outline is drawn around what had more than this share of the largest weight."""


def draw_alignment(
    decoding: "Decoding", source: Sequence[str], title: str = "", places: str = "source pieces"
) -> Figure:
    """Draw the attention of each token (a row) over the source's positions (columns); each row sums to 1.

    Args:
        decoding: T tokens with S attention weights each.
        source: what to call the S positions.
        title: stands above; may be long.
        places: what the positions are.

    Raises:
        BadPicture: the tokens have no attention weights.
    """
    weights = _weights(decoding)
    count, length = weights.shape
    rows = [_readable(token.piece) for token in decoding.tokens]
    columns = [_readable(source[place]) if place < len(source) else str(place) for place in range(length)]
    with styled():
        size = (max(4.5, MARGIN_INCHES + CELL_INCHES * length), max(2.5, MARGIN_INCHES + CELL_INCHES * count))
        figure = Figure(figsize=size)
        axes = figure.add_subplot()
        image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(length), columns, rotation=50, ha="left", rotation_mode="anchor")
        axes.set_yticks(range(count), rows)
        axes.xaxis.tick_top()
        axes.tick_params(pad=2)
        axes.set_xticks(np.arange(length + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#eef0f2", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
        axes.set_frame_on(False)
        axes.set_xlabel(places)
        axes.set_ylabel("target pieces")
        bar = figure.colorbar(
            image, ax=axes, shrink=min(1.0, 1.6 / (CELL_INCHES * count)), aspect=12, ticks=[0, 0.5, 1]
        )
        bar.set_label("attention")
        bar.outline.set_visible(False)
        _entitle(figure, title)
    return figure


def draw_looks(image: Path, decoding: "Decoding", grid: "AttentionGrid", title: str = "") -> Figure:
    """Draw a photo, and then again for each word of its caption, clear where the word's pieces looked (Xu et al. 2015, figure 3).

    The weights of the grid's cells are enlarged to the photo by cubic interpolation. In each tile the cell with the most weight is
    as clear as the photo and one without any fades towards white, so that equal weights show the whole photo; an outline is around
    what has more than half of the most.

    Args:
        image: what was captioned.
        decoding: tokens with a weight for each cell, row by row.
        grid: how many rows and columns of cells there are.
        title: stands above; may be long.

    Raises:
        BadPicture: the tokens have no attention weights, or the image cannot be read.
    """
    photo = _read(image)
    words = _words(decoding)
    everywhere = np.ones(photo.shape[:2], np.float32)
    tiles = [("the photo", everywhere)]
    tiles += [(word, _enlarged(weights.reshape(grid.row_count, grid.column_count), photo)) for word, weights in words]
    columns = min(TILES_IN_A_ROW, len(tiles))
    rows = -(-len(tiles) // columns)
    height = TILE_INCHES * photo.shape[0] / photo.shape[1]
    with styled():
        figure = Figure(figsize=(columns * TILE_INCHES, rows * (height + 0.28) + 0.45))
        grid_of_axes = figure.subplots(rows, columns, squeeze=False)
        for axes in grid_of_axes.flat:
            axes.set_axis_off()
        for axes, (word, shares) in zip(grid_of_axes.flat, tiles, strict=False):
            clear = LEAST_CLEAR + (1 - LEAST_CLEAR) * shares[..., None]
            axes.imshow((photo * clear + 255 * (1 - clear)).astype(np.uint8))
            if shares.min() < OUTLINED:
                axes.contour(shares, levels=[OUTLINED], colors=[RIGHT], linewidths=1.4)
            axes.set_title(plain(word), loc="center", pad=3, style="italic" if shares is everywhere else "normal")
        _entitle(figure, title)
    return figure


def _weights(decoding: "Decoding") -> Weights:
    """Return (T, S) float64."""
    given = [list(token.attention) for token in decoding.tokens]
    if not given or not all(given):
        raise BadPicture("the answer has no attention weights to draw: the model attends to nothing")
    return np.array(given, np.float64)


def _words(decoding: "Decoding") -> list[tuple[str, Weights]]:
    """Return each word with the mean weights (S,) of its pieces; the end of the sequence is none."""
    from beamstep.v1.decoding_pb2 import FINISH_REASON_END_OF_SEQUENCE

    weights = _weights(decoding)
    tokens = decoding.tokens[: -1 if decoding.finish_reason == FINISH_REASON_END_OF_SEQUENCE else None]
    words: list[tuple[str, list[Weights]]] = []
    for token, row in zip(tokens, weights, strict=False):
        if words and not token.piece.startswith(WORD_BEGINS):
            text, rows = words.pop()
            words.append((text + token.piece, [*rows, row]))
        else:
            words.append((token.piece.removeprefix(WORD_BEGINS), [row]))
    return [(text, np.mean(rows, axis=0)) for text, rows in words]


def _readable(piece: str) -> str:
    """Return a piece without the sign of a space; one that goes on with a word begins with a hyphen instead."""
    if piece.startswith(WORD_BEGINS):
        return plain(piece.removeprefix(WORD_BEGINS) or piece)
    return plain(f"-{piece}" if piece[:1].isalpha() else piece)


def _read(image: Path) -> NDArray[np.uint8]:
    """Return a photo of at most `TILE_PIXELS` a side, (height, width, 3) uint8 RGB, turned as its EXIF data says."""
    try:
        with Image.open(image) as file:
            photo = ImageOps.exif_transpose(file).convert("RGB")
    except (UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadPicture(f"{image}: {error}; allowed: an image that Pillow can read") from None
    photo.thumbnail((TILE_PIXELS, TILE_PIXELS), Image.Resampling.LANCZOS)
    return np.asarray(photo)


def _enlarged(weights: Weights, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return weights (rows, columns) at every pixel of the photo as shares of the largest, (height, width) from 0 to 1."""
    height, width, _ = photo.shape
    enlarged = Image.fromarray(weights.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(enlarged) / max(float(weights.max()), 1e-9), 0, 1)


def _entitle(figure: Figure, title: str) -> None:
    if title:
        width = int(figure.get_figwidth() * 11)
        options: dict[str, Any] = {"fontsize": 11, "ha": "left", "x": 0.02}
        figure.suptitle(plain(fill(title, width)), **options)
