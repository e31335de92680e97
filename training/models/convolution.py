"""Convolutions whose weights stay 8-bit integers with one scale and one zero point a tensor."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after an axis of `size` under TensorFlow's SAME rule.

    The output has ceil(size / stride) positions; an odd zero goes after, where torch's symmetric padding would shift
    the grid by one pixel at every stride-2 layer of an even-sized image.
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class QuantizedConvolution(nn.Module):
    """A frozen 2-D convolution with SAME padding whose weight is scale * (weight_q - zero).

    The integers are dequantised at every call, which is next to nothing beside the convolution; an exported graph holds
    them as they are (export/graphs.py). The names are those of the weight file.

    Attributes:
        weight_q: (output, input / groups, kernel, kernel) uint8.
        weight_scale: () float32.
        weight_zero: () uint8, the integer that stands for 0.
        bias: (output,) float32; batch normalisation is folded into it and the weight.
    """

    weight_q: Tensor
    weight_scale: Tensor
    weight_zero: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.groups = groups
        self.register_buffer("weight_q", torch.zeros(outputs, inputs // groups, kernel, kernel, dtype=torch.uint8))
        self.register_buffer("weight_scale", torch.ones(()))
        self.register_buffer("weight_zero", torch.zeros((), dtype=torch.uint8))
        self.register_buffer("bias", torch.zeros(outputs))

    def weight(self) -> Tensor:
        """Return the float32 weight; the subtraction is exact, so one rounding is all there is."""
        return self.weight_scale * (self.weight_q.to(torch.float32) - self.weight_zero.to(torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        """Convolve (N, C, height, width) to (N, output, ceil(height / stride), ceil(width / stride))."""
        top, bottom = same_padding(image.shape[2], self.kernel, self.stride)
        left, right = same_padding(image.shape[3], self.kernel, self.stride)
        if top == bottom == left == right:
            return F.conv2d(image, self.weight(), self.bias, self.stride, padding=top, groups=self.groups)
        padded = F.pad(image, (left, right, top, bottom))
        return F.conv2d(padded, self.weight(), self.bias, self.stride, groups=self.groups)
