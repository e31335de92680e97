"""Images as training sees them: grid features of image files, computed once by a frozen network and kept on disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import nn

from training.models.image_network import IMAGE_SIZE

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float16]

CROP_SIZE = 192
BATCH_SIZE = 16


def read_image(path: Path) -> Pixels:
    """Return (224, 224, 3) uint8 RGB; another size is squeezed into the square, as Flickr8k's photos here were."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    if rgb.size != (IMAGE_SIZE, IMAGE_SIZE):
        rgb = rgb.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return np.array(rgb)  # a copy: torch warns of arrays that it may not write to


def view_of(image: Pixels, view: int, seed: int) -> Pixels:
    """Return one of the fixed variants of an image that a frozen network can be augmented with.

    Args:
        image: (224, 224, 3).
        view: 0 as it is; odd ones are mirrored; from 2 on, a square of 192 pixels from somewhere in it, scaled up again.
        seed: where that square lies.
    """
    if view >= 2:
        top, left = np.random.default_rng((view, seed)).integers(0, IMAGE_SIZE - CROP_SIZE + 1, 2)
        crop = Image.fromarray(image[top : top + CROP_SIZE, left : left + CROP_SIZE])
        image = np.asarray(crop.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))
    return image[:, ::-1] if view % 2 else image


@dataclass(frozen=True)
class ImageFiles:
    """One view of image files, read when asked for: what a network that is trained looks at instead of its old features."""

    paths: Sequence[Path]
    view: int

    def __getitem__(self, image: int) -> Pixels:
        """Return (224, 224, 3) uint8 RGB."""
        return view_of(read_image(self.paths[image]), self.view, image)


def cached_features(network: nn.Module, weights: Path, images: Sequence[Path], view: int, folder: Path) -> Features:
    """Return the features of `images`, read from `folder` where they were computed before.

    The file is named by everything that its content depends on (the weights, the images' names and sizes, the view), and
    appears under that name only when it is whole.

    Args:
        network: maps (N, 224, 224, 3) uint8 to (N, S, D) float32; in evaluation mode, with `weights` loaded.
        weights: the file that `network` was loaded from.
        images: I image files.
        view: see `view_of`.
        folder: where the files are kept; made if need be.

    Returns:
        (I, S, D) float16, mapped from the file.
    """
    path = folder / f"features-{_fingerprint(weights, images)}-view{view}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        _compute_features(network, images, view, partial)
        partial.rename(path)
    features: Features = np.load(path, mmap_mode="r")
    return features


def _fingerprint(weights: Path, images: Sequence[Path]) -> str:
    """Digest the weights, and the images by name and size."""
    digest = hashlib.sha256(weights.read_bytes())
    for image in images:
        digest.update(f"{image.name}\t{image.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def _compute_features(network: nn.Module, images: Sequence[Path], view: int, path: Path) -> None:
    """Run every image through the network, some at a time, and write an .npy file."""
    stored: np.memmap[Any, np.dtype[np.float16]] | None = None
    starts = range(0, len(images), BATCH_SIZE)
    progress = track(starts, f"image features, view {view}", console=Console(stderr=True), transient=True)
    with torch.inference_mode():
        for start in progress:
            chosen = images[start : start + BATCH_SIZE]
            pixels = [view_of(read_image(image), view, start + index) for index, image in enumerate(chosen)]
            computed = network(torch.from_numpy(np.stack(pixels))).numpy()
            if stored is None:
                shape = (len(images), *computed.shape[1:])
                stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            stored[start : start + len(chosen)] = computed
    assert stored is not None, "no images"
    stored.flush()
