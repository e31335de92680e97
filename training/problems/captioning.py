"""Captioning: photos with several captions each, mostly seen through features that a frozen network computed once."""

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError, field_validator
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from training.config import ProblemConfig, RecipeError, Task
from training.features import Features, ImageFiles, Pixels, cached_features, read_image
from training.models.mobilenet import WEIGHT_FILE
from training.models.networks import EIGHT_BIT, NetworkConfig, NetworkFile
from training.problems.base import Batch
from training.problems.text import Tokenizer, train_tokenizer
from training.problems.translation import pad
from training.rewards import DocumentFrequencies, cider_d
from training.vocabulary import EOS

TOKENIZER_FILE = "target.model"
CACHE_FOLDER = ".cache"
LONGEST_ANSWER = 30
"""Most tokens of a caption that is decoded to be scored, `eos` counted."""
AROUND_A_WORD = re.compile(r"^[^\w']+|\W+$")


class CaptioningConfig(ProblemConfig):
    """The `problem` section of a captioning recipe; paths are relative to the data folder.

    Attributes:
        captions: a JSON object a line: `image` (a file name), `split` (`train`, `val`; others are never read), `captions`.
        images: the folder with the image files.
        network: the network that images are seen through, and its weights; a path alone means the 8-bit MobileNetV2.
        views: how many fixed variants of a training image there are features of (features.view_of).
        max_length: captions of more ids than this, `eos` counted, are left out of training.
    """

    kind: Literal["captioning"]
    task: ClassVar[Task] = "captioning"
    needs_data: ClassVar[bool] = True
    tokenizer_files: ClassVar[tuple[str, ...]] = (TOKENIZER_FILE,)
    captions: str = "flickr8k/captions.jsonl"
    images: str = "flickr8k/images"
    network: NetworkConfig = NetworkConfig(kind=EIGHT_BIT, weights=f"mobilenet_v2/{WEIGHT_FILE}")
    vocabulary_size: int = Field(3000, ge=8)
    views: int = Field(2, ge=1)
    images_per_batch: int = Field(32, ge=1)
    max_length: int = Field(30, ge=2)

    @field_validator("network", mode="before")
    @classmethod
    def _path_alone(cls, network: Any) -> Any:
        """Take a path for the weights of the 8-bit MobileNetV2."""
        return {"kind": EIGHT_BIT, "weights": network} if isinstance(network, str) else network

    def build(self, data: Path | None, run: Path, seed: int) -> "CaptioningProblem":
        """Read the captions; copy the network's weights, train the tokenizer, compute features: unless that was done.

        The tokenizer and the weights are kept in the run folder; the features, which many runs share, beside it.
        """
        network = NetworkFile(self.network.kind, run / Path(self.network.weights).name, self.network.trainable)
        if data is None:
            return CaptioningProblem(_load_tokenizer(run), network, None, seed)
        if not network.path.is_file():
            _copy_whole(data / self.network.weights, network.path)
        training = read_captions(data / self.captions, data / self.images, "train")
        validation = read_captions(data / self.captions, data / self.images, "val")
        if not (run / TOKENIZER_FILE).is_file():
            text = (caption for image in training for caption in image.captions)
            train_tokenizer(text, self.vocabulary_size, run / TOKENIZER_FILE, model_type="bpe")
        tokenizer = _load_tokenizer(run)
        photos = Photos(
            training=encode_captions(training, tokenizer, self.max_length),
            training_views=see(network, training, self.views, run.parent / CACHE_FOLDER),
            validation=encode_captions(validation, tokenizer),
            validation_view=see(network, validation, 1, run.parent / CACHE_FOLDER)[0],
            validation_images=validation,
            images_per_batch=self.images_per_batch,
        )
        return CaptioningProblem(tokenizer, network, photos, seed)


class CaptionedImage(NamedTuple):
    """An image file and its captions, normalised."""

    path: Path
    captions: tuple[str, ...]


class CaptionLine(BaseModel):
    """A line of the captions file."""

    image: str
    split: str
    captions: tuple[str, ...]


View = Features | ImageFiles
"""Features (I, S, D) float16 of a network that stays as it is; or the images themselves, to be looked at in every batch."""


def see(network: NetworkFile, images: Sequence[CaptionedImage], views: int, cache: Path) -> list[View]:
    """Return each view of the images: features where the network is frozen, kept in the folder `cache`, else pixels."""
    paths = [image.path for image in images]
    if network.trainable != "none":
        return [ImageFiles(paths, view) for view in range(views)]
    loaded = network.load().eval()
    return [cached_features(loaded, network.path, paths, view, cache) for view in range(views)]


@dataclass(frozen=True)
class Photos:
    """All data of the problem.

    Attributes:
        training: the captions of each image as ids, `eos` last; images without captions have an empty list.
        training_views: the images as each view shows them, in the same order.
        validation: as `training`.
        validation_view: the held-back images as they are.
        validation_images: the held-back images and their captions as text, in the same order.
        images_per_batch: N of a batch.
    """

    training: list[list[list[int]]]
    training_views: Sequence[View]
    validation: list[list[list[int]]]
    validation_view: View
    validation_images: list[CaptionedImage]
    images_per_batch: int


class CaptioningProblem:
    """Batches of images that share what is seen of them among their captions.

    Attributes:
        tokenizer: of the captions.
        network: what the model sees images through.
    """

    def __init__(self, tokenizer: Tokenizer, network: NetworkFile, photos: Photos | None, seed: int) -> None:
        self.tokenizer = tokenizer
        self.network = network
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
        views = random.integers(len(photos.training_views), size=len(order))
        for start in range(0, len(order), photos.images_per_batch):
            chosen = order[start : start + photos.images_per_batch]
            seen = views[start : start + photos.images_per_batch]
            images = [photos.training_views[view][image] for view, image in zip(seen, chosen, strict=True)]
            yield make_batch(np.stack(images), [photos.training[image] for image in chosen])

    def validation_batches(self) -> Iterator[Batch]:
        """Yield the held-back images in their own order."""
        photos = self.photos
        for start in range(0, len(photos.validation), photos.images_per_batch):
            captions = photos.validation[start : start + photos.images_per_batch]
            images = [photos.validation_view[start + place] for place in range(len(captions))]
            yield make_batch(np.stack(images), captions)

    @property
    def metrics(self) -> tuple[str, ...]:
        """See ScoredProblem."""
        return ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider")

    def longest_answer(self, inputs: Mapping[str, Tensor]) -> int:  # noqa: ARG002 - the same for every image
        """See ScoredProblem."""
        return LONGEST_ANSWER

    def score(self, answers: Sequence[Sequence[int]]) -> dict[str, float]:
        """Compare a caption of each held-back image with those that people wrote."""
        captions = [self.tokenizer.decode(answer) for answer in answers]
        return score_captions(captions, [image.captions for image in self.photos.validation_images])

    def words(self, targets: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        """See TextProblem."""
        return [tuple(self.tokenizer.decode(target).split()) for target in targets]

    def training_references(self) -> list[list[list[int]]]:
        """Return the captions of each training image that has any."""
        return [captions for captions in self.photos.training if captions]

    def held_back_inputs(self, count: int) -> list[dict[str, Tensor]]:
        """Return what the exported encoder is fed for the first `count` held-back images, one image a source."""
        images = self.photos.validation_images[:count]
        return [{"image": torch.from_numpy(read_image(image.path)).unsqueeze(0)} for image in images]


def make_batch(images: Features | Pixels, captions: Sequence[Sequence[Sequence[int]]]) -> Batch:
    """Put images and the captions of each (as ids) into a batch; captions name their image in `source`.

    Args:
        images: features (N, S, D) float16, or pixels (N, 224, 224, 3) uint8.
        captions: of each of the N images.
    """
    name = "image" if images.dtype == np.uint8 else "features"
    source = [image for image, own in enumerate(captions) for _ in own]
    target = pad([caption for own in captions for caption in own])
    return Batch({name: torch.from_numpy(images)}, torch.tensor(source), target)


def normalise_caption(text: str) -> str:
    """Return lower-case words without the punctuation around them, as captions are compared; "'s" keeps its apostrophe."""
    words = (AROUND_A_WORD.sub("", word) for word in text.lower().split())
    return " ".join(word for word in words if word)


def score_captions(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return corpus BLEU-1 to BLEU-4 and CIDEr-D in percent, all sides normalised.

    A quick look while a model trains: what is reported comes from `beamstep evaluate`, which also splits contractions.
    """
    columns = [list(column) for column in zip_longest(*references)]
    counted = BLEU(tokenize="none", smooth_method="none").corpus_score(captions, columns)
    logs = [math.log(max(1e-9, precision)) for precision in counted.precisions]
    bleu = {f"bleu_{n}": counted.bp * math.exp(sum(logs[:n]) / n) for n in range(1, len(logs) + 1)}
    groups = [[tuple(reference.split()) for reference in group] for group in references]
    frequencies = DocumentFrequencies.of(groups)
    ciders = [
        cider_d([tuple(caption.split())], group, frequencies)[0]
        for caption, group in zip(captions, groups, strict=True)
    ]
    return {**bleu, "cider": 100 * sum(ciders) / len(ciders)}


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
