"""Batch normalisation folded into the convolutions before it: y = s * (W x) + t is (s W) x + t.

Done in PyTorch before weights are rounded and graphs traced, so that what is rounded is what the graph computes with.
"""

import itertools

import torch
from torch import Tensor, nn

from training.models.image_network import FrozenBatchNorm


def fold_normalisation(model: nn.Module) -> None:
    """Fold every FrozenBatchNorm of a model, in place; nothing is left to fold afterwards.

    One that is registered directly after a convolution disappears into it. Others, which in a DenseNet stand before a
    rectifier and read what several convolutions gave, become one multiplication and one addition.
    """
    for parent in list(model.modules()):
        for (name, before), (norm_name, norm) in itertools.pairwise(list(parent.named_children())):
            if isinstance(before, nn.Conv2d) and isinstance(norm, FrozenBatchNorm):
                parent.add_module(name, folded(before, norm))
                parent.add_module(norm_name, nn.Identity())
    for name, module in list(model.named_modules()):
        if isinstance(module, FrozenBatchNorm):
            model.set_submodule(name, ChannelLine(module))


def folded(convolution: nn.Conv2d, norm: FrozenBatchNorm) -> nn.Conv2d:
    """Return the convolution that does what both do one after the other."""
    assert isinstance(convolution.padding, tuple)
    outputs, _, height, width = convolution.weight.shape
    scale, shift = norm.line()
    both = nn.Conv2d(
        convolution.in_channels,
        outputs,
        (height, width),
        (convolution.stride[0], convolution.stride[1]),
        (convolution.padding[0], convolution.padding[1]),
        groups=convolution.groups,
    )
    assert both.bias is not None
    with torch.no_grad():
        both.weight.copy_(scale[:, None, None, None] * convolution.weight)
        both.bias.copy_(shift if convolution.bias is None else shift + scale * convolution.bias)
    return both


class ChannelLine(nn.Module):
    """A line for each channel: scale * x + shift."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: FrozenBatchNorm) -> None:
        super().__init__()
        with torch.no_grad():
            for name, values in zip(("scale", "shift"), norm.line(), strict=True):
                self.register_buffer(name, values[:, None, None].clone())

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, channels, height, width) to the same shape."""
        return image * self.scale + self.shift
