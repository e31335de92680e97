"""Captioning: image files to pixels, ids to text."""

from serving.bundle import Bundle
from serving.tasks.base import Source, TextTask
from serving.tasks.images import DEFAULT_LIMITS, ImageLimits, decode_image


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

    def source(self, image: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> Source:
        """Return the encoder's input for an image file; takes long enough to be run beside the event loop."""
        pixels = decode_image(image, self._image.height, self._image.width, limits)
        return Source({"image": pixels}, self.grid[0] * self.grid[1], self._vocabulary_size, constraint=None)
