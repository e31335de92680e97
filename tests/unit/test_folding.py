"""Folded networks do what they did, with nothing left to normalise."""

import pytest
import torch
from torch import nn

from export.folding import ChannelLine, fold_normalisation, folded
from tests.fakes.networks import NARROW, narrow_network, noise
from training.models.image_network import FrozenBatchNorm


def test_a_folded_convolution_is_the_line_of_what_it_was():
    convolution = nn.Conv2d(1, 2, 1)
    norm = FrozenBatchNorm(2)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([2.0, 3.0]).view(2, 1, 1, 1))
        convolution.bias.copy_(torch.tensor([1.0, 0.0]))
        norm.running_mean.copy_(torch.tensor([5.0, 0.0]))
        norm.running_var.copy_(torch.tensor([0.25, 1.0]))
        norm.bias.copy_(torch.tensor([7.0, -1.0]))
    both = folded(convolution, norm)
    # 2 (2x + 1 - 5) + 7 and 3x - 1
    torch.testing.assert_close(both.weight.flatten(), torch.tensor([4.0, 3.0]), rtol=1e-4, atol=0)
    torch.testing.assert_close(both.bias, torch.tensor([-1.0, -1.0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NARROW)
@torch.no_grad()
def test_a_folded_network_gives_the_same_features(name):
    network = narrow_network(name)
    images = noise(3, seed=9)
    before = network(images)
    fold_normalisation(network)
    torch.testing.assert_close(network(images), before, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, FrozenBatchNorm) for module in network.modules())
    lines = [module for module in network.modules() if isinstance(module, ChannelLine)]
    layers_transitions_and_the_last = 6 + 3 + 1
    assert len(lines) == (layers_transitions_and_the_last if name == "dense" else 0)
    weights = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    fold_normalisation(network)
    torch.testing.assert_close(network.state_dict(), weights)
