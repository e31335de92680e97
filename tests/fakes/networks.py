"""Narrow image networks, one for each structure there is, with random weights and the statistics of noise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.models.densenet import DenseNet, DenseNetPlan
from training.models.image_network import FrozenBatchNorm, ImageNetwork
from training.models.mobilenet import BlockPlan
from training.models.mobilenet_float import FloatMobileNetV2
from training.models.resnet import BasicBlock, Bottleneck, ResNet, ResNetPlan

SIDE = 64
"""Pixels of an image's side; the grid is 2 x 2."""
NARROW_PLAN = (BlockPlan(1, 6, 1, 1), BlockPlan(3, 8, 2, 2), BlockPlan(3, 8, 1, 2), BlockPlan(3, 10, 2, 2))
NARROW_END = (BlockPlan(3, 12, 2, 2), BlockPlan(3, 16, 1, 1))
NARROW: dict[str, Callable[[], ImageNetwork]] = {
    "basic": lambda: ResNet(ResNetPlan(BasicBlock, (2, 1, 1, 2)), width=6),
    "bottleneck": lambda: ResNet(ResNetPlan(Bottleneck, (2, 1, 1, 1)), width=4),
    "dense": lambda: DenseNet(DenseNetPlan(growth=4, width=6, repeats=(2, 1, 2, 1))),
    "mobile": lambda: FloatMobileNetV2((*NARROW_PLAN, *NARROW_END), width=6, feature_size=24),
}


def noise(count: int, seed: int = 0) -> Tensor:
    """Return images (count, SIDE, SIDE, 3) uint8 of coarse patches of colour, each image of its own brightness."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand(count, 3, SIDE // 16, SIDE // 16, generator=generator)
    fine = torch.rand(count, 3, SIDE, SIDE, generator=generator)
    brightest = torch.linspace(60, 255, count).view(-1, 1, 1, 1)
    images = brightest * (0.8 * nn.functional.interpolate(patches, size=(SIDE, SIDE)) + 0.2 * fine)
    return images.permute(0, 2, 3, 1).contiguous().to(torch.uint8)


def settled(network: ImageNetwork, images: Tensor) -> ImageNetwork:
    """Give every normalisation the statistics of what it reads of `images`, and a line of its own, as training would."""

    def measure(norm: nn.Module, given: tuple[Tensor]) -> None:
        assert isinstance(norm, FrozenBatchNorm)
        norm.running_mean.copy_(given[0].mean((0, 2, 3)))
        norm.running_var.copy_(given[0].var((0, 2, 3)))
        norm.weight.uniform_(0.7, 1.4)
        norm.bias.normal_(0.1, 0.2)

    norms = [module for module in network.modules() if isinstance(module, FrozenBatchNorm)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return network.eval()


def narrow_network(name: str, seed: int = 0) -> ImageNetwork:
    """Make one of NARROW."""
    torch.manual_seed(seed)
    return settled(NARROW[name](), noise(8, seed))
