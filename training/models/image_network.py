"""What every image encoder is: pixels in, a grid of features out, its statistics frozen."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

IMAGE_SIZE = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
EPSILON = 1e-5
Trainable = Literal["none", "last", "all"]
"""Which weights of a network are trained: none, those of the stage that ends it, or all."""


class ImageNetwork(nn.Module):
    """A convolutional network without its classifier; what it does to pixels first is part of it.

    Attributes:
        feature_size: D, features of each cell.
        mean: (3,) float32 on the scale 0 to 255, taken off red, green and blue.
        deviation: (3,) float32, what they are then divided by.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, feature_size: int, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.feature_size = feature_size
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the last feature map.

        Args:
            image: (N, height, width, 3) uint8 RGB, 224 x 224 but in tests.

        Returns:
            (N, S, D) float32, a cell for every 32 x 32 pixels (S = 49), from left to right, then from top to bottom.
        """
        normalised = (image.to(torch.float32) - self.mean) / self.deviation
        # One image may come with strides that claim either layout; ONNX has only the contiguous one.
        grid = self.grid(normalised.permute(0, 3, 1, 2).contiguous())  # (N, D, height / 32, width / 32)
        return grid.flatten(2).transpose(1, 2)

    def grid(self, image: Tensor) -> Tensor:
        """Return the feature map (N, D, height / 32, width / 32) of normalised images (N, 3, height, width)."""
        raise NotImplementedError

    def last_stage(self) -> Sequence[nn.Module]:
        """Return the modules that work at the size of the grid, which is what fine-tuning changes first."""
        raise NotImplementedError

    def set_trainable(self, trainable: Trainable) -> None:
        """Choose the weights that training changes; the statistics of normalisation stay as they were loaded."""
        self.requires_grad_(trainable == "all")
        if trainable == "last":
            for module in self.last_stage():
                module.requires_grad_(True)


class ImageNetNetwork(ImageNetwork):
    """A network whose weights were trained on pixels normalised as torchvision's are."""

    def __init__(self, feature_size: int) -> None:
        mean = [255 * value for value in IMAGENET_MEAN]
        super().__init__(feature_size, mean, [255 * value for value in IMAGENET_DEVIATION])


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with the statistics of the training set, a fixed line for each channel.

    y = weight * (x - running_mean) / sqrt(running_var + EPSILON) + bias. Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2.

    It never looks at its batch, in training neither: a few images say nothing of a set's statistics, and an image's numbers
    must not depend on its neighbours. Where one normalises what a convolution gives, it is registered directly after it,
    which is how export/folding.py finds the pairs. The names are torchvision's.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def line(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift, (channels,) each: y = scale * x + shift."""
        scale = self.weight * torch.rsqrt(self.running_var + EPSILON)
        return scale, self.bias - scale * self.running_mean

    def forward(self, image: Tensor) -> Tensor:
        """Normalise (N, channels, height, width)."""
        return nn.functional.batch_norm(image, self.running_mean, self.running_var, self.weight, self.bias, eps=EPSILON)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Build a convolution without bias, padded by half its kernel on every side, He et al. 2015 (arXiv:1502.01852) inside."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
