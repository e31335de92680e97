"""Captioning: image files to pixels, ids to text."""

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.tasks.base import Source, TextTask
from serving.tasks.images import decode_image


class Captioning(TextTask):
    """An image to a sentence about it.

    Attributes:
        grid: rows and columns of the image cells that attention weights run over.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Read the image's size from the manifest."""
        super().__init__(bundle)
        assert bundle.manifest.image is not None, "the manifest's validation"
        self._image = bundle.manifest.image
        self.grid = (self._image.grid_rows, self._image.grid_columns)

    @property
    def image_size(self) -> tuple[int, int]:
        """Return rows and columns of the image that the encoder reads."""
        return self._image.height, self._image.width

    def source(self, image: bytes) -> Source:
        """Return the encoder's input for an image file; takes long, and may keep other threads waiting."""
        return self.source_of(decode_image(image, *self.image_size))

    def source_of(self, pixels: NDArray[np.uint8]) -> Source:
        """Return the encoder's input for an image of `image_size`, (height, width, 3) uint8 RGB."""
        return Source({"image": pixels}, self.grid[0] * self.grid[1], self._vocabulary_size, constraint=None)
