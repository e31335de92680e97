"""Untrained runs, one of each family of models, small enough to export in seconds; their weights are random and seeded."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.fakes.bundles import SENTENCES
from training.models.base import SequenceToSequence
from training.models.captioning import CaptioningModelConfig
from training.models.convolution import QuantizedConvolution
from training.models.image_network import ImageNetwork
from training.models.mobilenet import FEATURE_SIZE
from training.problems.text import train_tokenizer
from training.recipe import Recipe, find_recipe
from training.run import Run
from training.variants import read_content

FAMILIES = ("gru", "lstm", "rnn", "captioning", "pointing")
"""Translation with each cell, captioning, and pointing with every kind of state that a pointer network has."""
POINTING = {"pointing": "hull", "tour": "tour", "delaunay": "delaunay"}
"""Families of one model; the last two only for what depends on the task."""


SMALL_POINTER = {
    "encoder": {"kind": "set", "hidden_size": 32, "num_layers": 2, "num_heads": 2},
    "num_heads": 2,
    "recent": 2,
    "period": 3,
    "remembered": 4,
}


def untrained_run(family: str, folder: Path) -> Run:
    """Make a run of a family with fresh weights; `folder` holds its tokenizers."""
    torch.manual_seed(3)
    folder.mkdir(parents=True, exist_ok=True)
    if family == "captioning":
        return _captioning(folder)
    small = {"problem": {"largest": 12, "points_per_batch": 60}, "model": SMALL_POINTER}
    pointing = family in POINTING
    recipe = _recipe(POINTING[family], small) if pointing else _recipe("reverse", {"model": {"cell": family}})
    problem = recipe.problem.build(None, folder, recipe.seed)
    model = recipe.model.build(problem)
    return Run(folder, recipe, problem, _sharpened(model).eval())


def _recipe(name: str, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Return a packaged recipe with some keys of its sections changed."""
    content = read_content(find_recipe(name))
    for section, keys in changes.items():
        content[section] |= keys
    return Recipe.model_validate(content)


def _sharpened(model: SequenceToSequence) -> SequenceToSequence:
    """Scale the decoder's matrices up, so that its choices depend on what it reads and are no near-ties."""
    with torch.no_grad():
        for weight in model.decoder.parameters():
            if weight.ndim >= 2:
                weight.mul_(1.5)
    return model


def _captioning(folder: Path) -> Run:
    size = train_tokenizer(SENTENCES, 150, folder / "target.model").size
    recipe = _recipe("captioning-en", {"model": {"embedding_size": 32, "hidden_size": 48}})
    config = recipe.model
    assert isinstance(config, CaptioningModelConfig)
    model = config.around(SmallNetwork(), size)
    return Run(folder, recipe, Noise(), _sharpened(model).eval())


class SmallNetwork(ImageNetwork):
    """An image to 49 cells of features, through 6 convolutions whose weights are 8-bit integers, in the place of 52."""

    def __init__(self) -> None:
        super().__init__(FEATURE_SIZE, mean=(128, 128, 128), deviation=(128, 128, 128))
        widths = (3, 4, 6, 8, 8, 8)
        layers = [QuantizedConvolution(inputs, outputs, 3, 2) for inputs, outputs in itertools.pairwise(widths)]
        layers.append(QuantizedConvolution(widths[-1], FEATURE_SIZE, 1))
        for layer in layers:
            layer.weight_q.random_(0, 256)
            layer.weight_zero.fill_(121)
            layer.weight_scale.fill_(0.003)
            layer.bias.normal_()
        self.layers = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU6())))

    def grid(self, image: Tensor) -> Tensor:
        """See ImageNetwork."""
        grid: Tensor = self.layers(image)
        return grid


class Noise:
    """Images that mean nothing."""

    def held_back_inputs(self, count: int) -> list[dict[str, Tensor]]:
        """Return `count` images of noise, each of another brightness."""
        random = np.random.default_rng(5)
        noise = (random.integers(0, 60 + 15 * number, (1, 224, 224, 3)).astype(np.uint8) for number in range(count))
        return [{"image": torch.from_numpy(image)} for image in noise]
