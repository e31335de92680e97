"""MobileNetV2 1.0 for 224 x 224 images, frozen, from 8-bit ImageNet weights.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (arXiv:1801.04381), table 2. Layers carry
the names of the weight file (torchvision's), so loading is `load_state_dict`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from training.models.convolution import QuantizedConvolution
from training.models.image_network import ImageNetwork

GRID_SIZE = 7
FEATURE_SIZE = 1280
CLASS_COUNT = 1001
WEIGHT_FILE = "mobilenet_v2_1.0_224_int8.npz"


class BlockPlan(NamedTuple):
    """A row of the paper's table 2: `repeats` blocks of which the first alone has `stride`."""

    expansion: int
    outputs: int
    repeats: int
    stride: int


PLAN = (
    BlockPlan(1, 16, 1, 1),
    BlockPlan(6, 24, 2, 2),
    BlockPlan(6, 32, 3, 2),
    BlockPlan(6, 64, 4, 2),
    BlockPlan(6, 96, 3, 1),
    BlockPlan(6, 160, 3, 2),
    BlockPlan(6, 320, 1, 1),
)


def convolution_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Build a convolution whose outputs are clipped to 0..6."""
    return nn.Sequential(QuantizedConvolution(inputs, outputs, kernel, stride, groups), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand, filter each channel alone, project without activation; add the input where shapes agree (figure 4d)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [convolution_relu6(inputs, hidden, kernel=1)]
        layers.append(convolution_relu6(hidden, hidden, kernel=3, stride=stride, groups=hidden))
        layers.append(QuantizedConvolution(hidden, outputs, kernel=1))
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, inputs, height, width) to (N, outputs, ceil(height / stride), ceil(width / stride))."""
        result: Tensor = self.conv(image)
        return image + result if self.has_shortcut else result


class MobileNetV2(ImageNetwork):
    """The convolutional part: a photo to 7 x 7 cells of 1280 features in 0..6; pixels are (x - 128) / 128."""

    def __init__(self) -> None:
        super().__init__(FEATURE_SIZE, mean=(128, 128, 128), deviation=(128, 128, 128))
        layers: list[nn.Module] = [convolution_relu6(3, 32, kernel=3, stride=2)]
        channels = 32
        for plan in PLAN:
            for repeat in range(plan.repeats):
                stride = plan.stride if repeat == 0 else 1
                layers.append(InvertedResidual(channels, plan.outputs, stride, plan.expansion))
                channels = plan.outputs
        layers.append(convolution_relu6(channels, FEATURE_SIZE, kernel=1))
        self.features = nn.Sequential(*layers)

    def grid(self, image: Tensor) -> Tensor:
        """See ImageNetwork."""
        features: Tensor = self.features(image)
        return features

    def last_stage(self) -> Sequence[nn.Module]:
        """Return nothing: integers are not trained."""
        return []


class MobileNetV2Classifier(MobileNetV2):
    """The whole ImageNet network: what the weights are checked with. Class 0 is background."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Identity(), QuantizedConvolution(FEATURE_SIZE, CLASS_COUNT, kernel=1))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1001) for (N, 224, 224, 3) uint8 RGB."""
        pooled = super().forward(image).mean(1)[:, :, None, None]
        logits: Tensor = self.classifier(pooled)
        return logits.flatten(1)


def load_weights(network: MobileNetV2, path: Path) -> None:
    """Fill the network from the weight file (an .npz whose keys are `state_dict` names).

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: a layer is missing or has another shape.
    """
    with np.load(path) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    wanted = network.state_dict().keys()
    network.load_state_dict({name: tensor for name, tensor in state.items() if name in wanted})
