"""Dot-product attention against weights worked out by hand."""

import math

import torch

from training.models.attention import attend


def test_weights_are_a_softmax_of_dot_products_over_real_positions() -> None:
    memory = torch.tensor([[[math.log(3), 0.0], [0.0, 5.0], [1000.0, 1000.0]]])
    context, weights = attend(torch.tensor([[1.0, 0.0]]), memory, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25, 0.0]]))
    torch.testing.assert_close(context, torch.tensor([[0.75 * math.log(3), 1.25]]))
