"""Residual networks of 18, 34, 50, 101 and 152 layers.

He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv:1512.03385), table 1: y = relu(F(x) + W_s x), eq. 1
and 2, where W_s is the identity unless the shape changes. Layers carry torchvision's names, so loading is `load_state_dict`.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from training.models.image_network import FrozenBatchNorm, ImageNetNetwork, convolution

ResNetKind = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
WIDTH = 64


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions (figure 5, left); the first has the stride."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 3, stride)
        self.bn1 = FrozenBatchNorm(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = FrozenBatchNorm(width)
        self.downsample = projection(inputs, width, stride)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, inputs, height, width) to (N, width, height / stride, width / stride)."""
        residual = torch.relu(self.bn1(self.conv1(image)))
        residual = self.bn2(self.conv2(residual))
        return torch.relu(residual + self.downsample(image))


class Bottleneck(nn.Module):
    """1 x 1 to fewer channels, 3 x 3 among them, 1 x 1 to four times as many (figure 5, right).

    The 3 x 3 convolution has the stride, where the paper's first 1 x 1 has it: torchvision's weights were trained so.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = FrozenBatchNorm(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = FrozenBatchNorm(width)
        self.conv3 = convolution(width, outputs, 1)
        self.bn3 = FrozenBatchNorm(outputs)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, inputs, height, width) to (N, 4 width, height / stride, width / stride)."""
        residual = torch.relu(self.bn1(self.conv1(image)))
        residual = torch.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return torch.relu(residual + self.downsample(image))


class ResNetPlan(NamedTuple):
    """A column of the paper's table 1: the block, and how many of it each of the four stages has."""

    block: type[BasicBlock] | type[Bottleneck]
    repeats: tuple[int, int, int, int]


PLANS: dict[ResNetKind, ResNetPlan] = {
    "resnet18": ResNetPlan(BasicBlock, (2, 2, 2, 2)),
    "resnet34": ResNetPlan(BasicBlock, (3, 4, 6, 3)),
    "resnet50": ResNetPlan(Bottleneck, (3, 4, 6, 3)),
    "resnet101": ResNetPlan(Bottleneck, (3, 4, 23, 3)),
    "resnet152": ResNetPlan(Bottleneck, (3, 8, 36, 3)),
}


class ResNet(ImageNetNetwork):
    """A photo to 7 x 7 cells of 8 * width features, four times as many of bottlenecks."""

    def __init__(self, plan: ResNetPlan, width: int = WIDTH) -> None:
        super().__init__(feature_size=8 * width * plan.block.expansion)
        self.conv1 = convolution(3, width, 7, stride=2)
        self.bn1 = FrozenBatchNorm(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        outputs = width * plan.block.expansion
        self.layer1 = stage(plan, 0, width, width, stride=1)
        self.layer2 = stage(plan, 1, outputs, 2 * width, stride=2)
        self.layer3 = stage(plan, 2, 2 * outputs, 4 * width, stride=2)
        self.layer4 = stage(plan, 3, 4 * outputs, 8 * width, stride=2)

    def grid(self, image: Tensor) -> Tensor:
        """See ImageNetwork."""
        image = self.maxpool(torch.relu(self.bn1(self.conv1(image))))  # (N, width, 56, 56)
        image = self.layer2(self.layer1(image))  # (N, 2 outputs, 28, 28)
        features: Tensor = self.layer4(self.layer3(image))  # (N, 8 outputs, 7, 7)
        return features

    def last_stage(self) -> Sequence[nn.Module]:
        """See ImageNetwork."""
        return [self.layer4]


def stage(plan: ResNetPlan, number: int, inputs: int, width: int, stride: int) -> nn.Sequential:
    """Build the blocks of a stage, of which the first alone has `stride`."""
    outputs = width * plan.block.expansion
    further = [plan.block(outputs, width, stride=1) for _ in range(plan.repeats[number] - 1)]
    return nn.Sequential(plan.block(inputs, width, stride), *further)


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Build W_s: a 1 x 1 convolution where a block changes the shape (option B of the paper), else nothing."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(convolution(inputs, outputs, 1, stride), FrozenBatchNorm(outputs))
