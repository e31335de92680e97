"""Captioning: photos with several captions each, seen through features that the frozen network computed once."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from training.config import ProblemConfig, RecipeError, Task
from training.features import Features, cached_features, read_image
from training.models.mobilenet import WEIGHT_FILE, MobileNetV2, load_weights
from training.problems.base import Batch
from training.problems.text import Tokenizer, train_tokenizer
from training.problems.translation import pad
from training.vocabulary import EOS

TOKENIZER_FILE = "target.model"
CACHE_FOLDER = ".cache"
AROUND_A_WORD = re.compile(r"^[^\w']+|\W+$")


class CaptioningConfig(ProblemConfig):
    """The `problem` section of a captioning recipe; paths are relative to the data folder.

    Attributes:
        captions: a JSON object a line: `image` (a file name), `split` (`train`, `val`; others are never read), `captions`.
        images: the folder with the image files.
        network: the weights of MobileNetV2.
        views: how many fixed variants of a training image there are features of (features.view_of).
        max_length: captions of more ids than this, `eos` counted, are left out of training.
    """

    kind: Literal["captioning"]
    task: ClassVar[Task] = "captioning"
    needs_data: ClassVar[bool] = True
    tokenizer_files: ClassVar[tuple[str, ...]] = (TOKENIZER_FILE,)
    captions: str = "flickr8k/captions.jsonl"
    images: str = "flickr8k/images"
    network: str = f"mobilenet_v2/{WEIGHT_FILE}"
    vocabulary_size: int = Field(3000, ge=8)
    views: int = Field(2, ge=1)
    images_per_batch: int = Field(32, ge=1)
    max_length: int = Field(30, ge=2)

    def build(self, data: Path | None, run: Path, seed: int) -> "CaptioningProblem":
        """Read the captions; copy the network's weights, train the tokenizer, compute features: unless that was done.

        The tokenizer and the weights are kept in the run folder; the features, which many runs share, beside it.
        """
        weights = run / WEIGHT_FILE
        if data is None:
            return CaptioningProblem(_load_tokenizer(run), weights, None, seed)
        if not weights.is_file():
            _copy_whole(data / self.network, weights)
        training = read_captions(data / self.captions, data / self.images, "train")
        validation = read_captions(data / self.captions, data / self.images, "val")
        if not (run / TOKENIZER_FILE).is_file():
            text = (caption for image in training for caption in image.captions)
            train_tokenizer(text, self.vocabulary_size, run / TOKENIZER_FILE, model_type="bpe")
        tokenizer = _load_tokenizer(run)
        photos = Photos(
            training=encode_captions(training, tokenizer, self.max_length),
            training_features=self._features(weights, training, self.views, run),
            validation=encode_captions(validation, tokenizer),
            validation_features=self._features(weights, validation, 1, run)[0],
            validation_images=validation,
            images_per_batch=self.images_per_batch,
        )
        return CaptioningProblem(tokenizer, weights, photos, seed)

    @staticmethod
    def _features(weights: Path, images: Sequence["CaptionedImage"], views: int, run: Path) -> list[Features]:
        """Return the features of each view."""
        network = MobileNetV2().eval()
        load_weights(network, weights)
        paths = [image.path for image in images]
        return [cached_features(network, weights, paths, view, run.parent / CACHE_FOLDER) for view in range(views)]


class CaptionedImage(NamedTuple):
    """An image file and its captions, normalised."""

    path: Path
    captions: tuple[str, ...]


class CaptionLine(BaseModel):
    """A line of the captions file."""

    image: str
    split: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Photos:
    """All data of the problem.

    Attributes:
        training: the captions of each image as ids, `eos` last; images without captions have an empty list.
        training_features: (I, 49, 1280) float16 for each view, in the same order.
        validation: as `training`.
        validation_features: (I, 49, 1280) float16.
        validation_images: the held-back images and their captions as text, in the same order.
        images_per_batch: N of a batch.
    """

    training: list[list[list[int]]]
    training_features: list[Features]
    validation: list[list[list[int]]]
    validation_features: Features
    validation_images: list[CaptionedImage]
    images_per_batch: int


class CaptioningProblem:
    """Batches of images that share their features among their captions.

    Attributes:
        tokenizer: of the captions.
        network_weights: the file that the model's network is loaded from.
    """

    def __init__(self, tokenizer: Tokenizer, network_weights: Path, photos: Photos | None, seed: int) -> None:
        self.tokenizer = tokenizer
        self.network_weights = network_weights
        self._photos = photos
        self._seed = seed

    @property
    def photos(self) -> Photos:
        """The data; RecipeError where the problem was made without."""
        if self._photos is None:
            raise RecipeError("data: none given, and batches of this problem need it; allowed: the data folder")
        return self._photos

    def training_batches(self, epoch: int) -> Iterator[Batch]:
        """Yield every image once, in a new order, each through a view drawn for this epoch."""
        photos = self.photos
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation([index for index, captions in enumerate(photos.training) if captions])
        views = random.integers(len(photos.training_features), size=len(order))
        for start in range(0, len(order), photos.images_per_batch):
            chosen = order[start : start + photos.images_per_batch]
            seen = views[start : start + photos.images_per_batch]
            features = [photos.training_features[view][image] for view, image in zip(seen, chosen, strict=True)]
            yield make_batch(np.stack(features), [photos.training[image] for image in chosen])

    def validation_batches(self) -> Iterator[Batch]:
        """Yield the held-back images in their own order."""
        photos = self.photos
        for start in range(0, len(photos.validation), photos.images_per_batch):
            stop = start + photos.images_per_batch
            yield make_batch(np.array(photos.validation_features[start:stop]), photos.validation[start:stop])

    def held_back_inputs(self, count: int) -> list[dict[str, Tensor]]:
        """Return what the exported encoder is fed for the first `count` held-back images, one image a source."""
        images = self.photos.validation_images[:count]
        return [{"image": torch.from_numpy(read_image(image.path)).unsqueeze(0)} for image in images]


def make_batch(features: Features, captions: Sequence[Sequence[Sequence[int]]]) -> Batch:
    """Put images (N, S, D) and the captions of each (as ids) into a batch; captions name their image in `source`."""
    source = [image for image, own in enumerate(captions) for _ in own]
    target = pad([caption for own in captions for caption in own])
    return Batch({"features": torch.from_numpy(features)}, torch.tensor(source), target)


def normalise_caption(text: str) -> str:
    """Return lower-case words without the punctuation around them, as captions are compared; "'s" keeps its apostrophe."""
    words = (AROUND_A_WORD.sub("", word) for word in text.lower().split())
    return " ".join(word for word in words if word)


def read_captions(captions: Path, images: Path, split: str) -> list[CaptionedImage]:
    """Return the images of one split in the file's order; RecipeError names a line that is not of the form."""
    try:
        lines = captions.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RecipeError(f"{captions}: cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = CaptionLine.model_validate(json.loads(line))
        except (json.JSONDecodeError, ValidationError) as error:
            raise RecipeError(
                f"{captions}, line {number}: not an object of image, split and captions: {error}"
            ) from error
        if entry.split == split:
            normalised = (normalise_caption(caption) for caption in entry.captions)
            found.append(CaptionedImage(images / entry.image, tuple(caption for caption in normalised if caption)))
    if not found:
        raise RecipeError(f"{captions}: has no image of the split {split!r}; allowed: at least one")
    return found


def encode_captions(
    images: Sequence[CaptionedImage], tokenizer: Tokenizer, max_length: int | None = None
) -> list[list[list[int]]]:
    """Return the captions of each image as ids ending in `eos`, leaving out those of more than `max_length` ids."""
    encoded = [[[*ids, EOS] for ids in tokenizer.encode_all(image.captions)] for image in images]
    if max_length is None:
        return encoded
    return [[ids for ids in own if len(ids) <= max_length] for own in encoded]


def _load_tokenizer(run: Path) -> Tokenizer:
    """Load the tokenizer of a run; RecipeError where it is missing."""
    path = run / TOKENIZER_FILE
    if not path.is_file():
        raise RecipeError(f"{run}: has no {TOKENIZER_FILE}; allowed: a run that was begun with its data")
    return Tokenizer(path)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that `target` is never seen half-written; RecipeError where there is nothing to copy."""
    beside = target.with_suffix(".partial")
    try:
        shutil.copyfile(source, beside)
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read: {error}") from error
    beside.replace(target)
