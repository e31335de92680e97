"""DenseNet-121: every layer reads the feature maps of all layers before it.

Huang et al. 2017, "Densely Connected Convolutional Networks" (arXiv:1608.06993), eq. 2: x_l = H_l([x_0, ..., x_(l-1)]), in
the form DenseNet-BC of section 3 and table 1. Layers carry torchvision's names, so loading is `load_state_dict`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.models.image_network import FrozenBatchNorm, ImageNetNetwork, convolution

BOTTLENECK = 4
"""A layer's 1 x 1 convolution gives this many times the growth rate: 4 k channels, section 3."""


class DenseNetPlan(NamedTuple):
    """A column of the paper's table 1.

    Attributes:
        growth: k, channels that each layer adds.
        width: channels of the first convolution.
        repeats: layers of each block.
    """

    growth: int
    width: int
    repeats: tuple[int, ...]


DENSENET_121 = DenseNetPlan(growth=32, width=64, repeats=(6, 12, 24, 16))


class DenseLayer(nn.Module):
    """H: normalise, relu, 1 x 1 convolution; normalise, relu, 3 x 3 convolution."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = FrozenBatchNorm(inputs)
        self.conv1 = convolution(inputs, BOTTLENECK * growth, 1)
        self.norm2 = FrozenBatchNorm(BOTTLENECK * growth)
        self.conv2 = convolution(BOTTLENECK * growth, growth, 3)

    def forward(self, before: Sequence[Tensor]) -> Tensor:
        """Map the maps (N, channels, height, width) of all layers before to (N, growth, height, width)."""
        together = torch.cat(list(before), 1)  # (N, inputs, height, width)
        narrow = self.conv1(torch.relu(self.norm1(together)))
        added: Tensor = self.conv2(torch.relu(self.norm2(narrow)))
        return added


class DenseBlock(nn.ModuleDict):
    """Layers that each add `growth` channels to what the block was given."""

    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__()
        for number in range(layers):
            self[f"denselayer{number + 1}"] = DenseLayer(inputs + number * growth, growth)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, inputs, height, width) to (N, inputs + layers * growth, height, width)."""
        maps = [image]
        for layer in self.values():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class Transition(nn.Module):
    """Half the channels by a 1 x 1 convolution, then half the size by the mean of 2 x 2 cells."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = FrozenBatchNorm(inputs)
        self.conv = convolution(inputs, inputs // 2, 1)
        self.pool = nn.AvgPool2d(2)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, inputs, height, width) to (N, inputs / 2, height / 2, width / 2)."""
        halved: Tensor = self.pool(self.conv(torch.relu(self.norm(image))))
        return halved


class DenseNet(ImageNetNetwork):
    """A photo to 7 x 7 cells of features: 1024 of DenseNet-121."""

    def __init__(self, plan: DenseNetPlan = DENSENET_121) -> None:
        layers: dict[str, nn.Module] = {
            "conv0": convolution(3, plan.width, 7, stride=2),
            "norm0": FrozenBatchNorm(plan.width),
            "relu0": nn.ReLU(),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        channels = plan.width
        for number, repeats in enumerate(plan.repeats, start=1):
            layers[f"denseblock{number}"] = DenseBlock(channels, plan.growth, repeats)
            channels += repeats * plan.growth
            if number < len(plan.repeats):
                layers[f"transition{number}"] = Transition(channels)
                channels //= 2
        last = f"norm{len(plan.repeats) + 1}"
        layers |= {last: FrozenBatchNorm(channels), "relu": nn.ReLU()}
        super().__init__(feature_size=channels)
        self.features = nn.Sequential()
        for name, layer in layers.items():
            self.features.add_module(name, layer)

    def grid(self, image: Tensor) -> Tensor:
        """See ImageNetwork; the rectifier at the end is the classifier's first step in torchvision, and no cell is below 0."""
        features: Tensor = self.features(image)
        return features

    def last_stage(self) -> Sequence[nn.Module]:
        """See ImageNetwork."""
        *_, block, norm, _ = self.features
        return [block, norm]
