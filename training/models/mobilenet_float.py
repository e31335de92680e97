"""MobileNetV2 in float32: table 2 of Sandler et al. 2018 (arXiv:1801.04381), as mobilenet.py, which reads an 8-bit file.

Padding is symmetric, as torchvision's weights were trained, where the 8-bit file's is TensorFlow's. Layers carry
torchvision's names, so loading is `load_state_dict`.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from training.models.image_network import FrozenBatchNorm, ImageNetNetwork, convolution
from training.models.mobilenet import FEATURE_SIZE, PLAN, BlockPlan

WIDTH = 32


def normalised_convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, FrozenBatchNorm]:
    """Build a convolution and the normalisation of what it gives."""
    return convolution(inputs, outputs, kernel, stride, groups), FrozenBatchNorm(outputs)


def convolution_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Build a normalised convolution whose outputs are clipped to 0..6."""
    return nn.Sequential(*normalised_convolution(inputs, outputs, kernel, stride, groups), nn.ReLU6())


class FloatInvertedResidual(nn.Module):
    """Expand, filter each channel alone, project without activation; add the input where shapes agree (figure 4d)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [convolution_relu6(inputs, hidden, kernel=1)]
        layers.append(convolution_relu6(hidden, hidden, kernel=3, stride=stride, groups=hidden))
        layers += normalised_convolution(hidden, outputs, kernel=1)
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, inputs, height, width) to (N, outputs, height / stride, width / stride)."""
        result: Tensor = self.conv(image)
        return image + result if self.has_shortcut else result


class FloatMobileNetV2(ImageNetNetwork):
    """The convolutional part: a photo to 7 x 7 cells of 1280 features in 0..6."""

    def __init__(self, plan: Sequence[BlockPlan] = PLAN, width: int = WIDTH, feature_size: int = FEATURE_SIZE) -> None:
        super().__init__(feature_size)
        layers: list[nn.Module] = [convolution_relu6(3, width, kernel=3, stride=2)]
        channels = width
        for row in plan:
            for repeat in range(row.repeats):
                stride = row.stride if repeat == 0 else 1
                layers.append(FloatInvertedResidual(channels, row.outputs, stride, row.expansion))
                channels = row.outputs
        layers.append(convolution_relu6(channels, feature_size, kernel=1))
        self.features = nn.Sequential(*layers)
        self._coarse_blocks = plan[-2].repeats + plan[-1].repeats

    def grid(self, image: Tensor) -> Tensor:
        """See ImageNetwork."""
        features: Tensor = self.features(image)
        return features

    def last_stage(self) -> Sequence[nn.Module]:
        """See ImageNetwork; the first of these blocks halves the image to the grid's size."""
        return list(self.features)[-1 - self._coarse_blocks :]
