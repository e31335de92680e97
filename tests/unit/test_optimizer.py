"""AdamW, and Muon beside it."""

import copy

import pytest
import torch
from torch import nn

from training.muon import Muon, orthogonalise
from training.optimizer import CombinedOptimizer, make_optimizer


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(40, 40)
        self.hidden = nn.Linear(40, 48)
        self.narrow = nn.Linear(48, 2)

    def forward(self, tokens):
        return self.narrow(torch.tanh(self.hidden(self.table(tokens))))


def descend(model, optimizer, steps):
    losses = []
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    for _ in range(steps):
        tokens = torch.randint(40, (64,))
        loss = nn.functional.cross_entropy(model(tokens), tokens % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_muon_takes_the_hidden_matrices_and_adamw_every_other_weight():
    model = Small()
    adamw, muon = make_optimizer("muon", model, 0.1).parts
    assert [id(weights) for group in muon.param_groups for weights in group["params"]] == [id(model.hidden.weight)]
    others = [model.table.weight, model.narrow.weight, model.hidden.bias, model.narrow.bias]
    by_adamw = {id(weights) for group in adamw.param_groups for weights in group["params"]}
    assert by_adamw == {id(weights) for weights in others}


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_vectors_do_not_decay_and_frozen_weights_are_left_out(kind):
    model = Small()
    model.table.weight.requires_grad_(False)
    groups = make_optimizer(kind, model, 0.1).param_groups
    for group in groups:
        assert all((weights.dim() >= 2) == (group["weight_decay"] == 0.1) for weights in group["params"])
    assert sum(len(group["params"]) for group in groups) == 4


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_restored_optimizer_goes_on_as_the_first_would(kind):
    torch.manual_seed(0)
    model = Small()
    optimizer = make_optimizer(kind, model, 0.01)
    losses = descend(model, optimizer, 30)
    assert losses[-1] < losses[0] / 2
    other = Small()
    other.load_state_dict(model.state_dict())
    resumed = make_optimizer(kind, other, 0.01)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    outcomes = []
    for one, its_optimizer in ((model, optimizer), (other, resumed)):
        torch.manual_seed(1)
        outcomes.append(descend(one, its_optimizer, 5))
    assert outcomes[0] == outcomes[1]
    assert isinstance(optimizer, CombinedOptimizer) == (kind == "muon")


@pytest.mark.parametrize("shape", [(40, 64), (64, 40)])
def test_orthogonalising_brings_every_singular_value_near_one_and_keeps_the_directions(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalise(matrix) @ right.T
    values = inner.diagonal()
    assert values.min() > 0.3
    assert values.max() < 1.3
    torch.testing.assert_close(inner, torch.diag(values), atol=1e-4, rtol=0)


def test_muon_steps_as_that_of_torch_does():
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(40, 64))
    theirs = nn.Parameter(ours.detach().clone())
    optimizers = [Muon([ours], 0.1), torch.optim.Muon([theirs], weight_decay=0.1, adjust_lr_fn="match_rms_adamw")]
    for _ in range(5):
        gradient = torch.randn(40, 64)
        for weights, optimizer in zip((ours, theirs), optimizers, strict=True):
            weights.grad = gradient.clone()
            optimizer.param_groups[0]["lr"] = 0.01
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=0)  # theirs are products in bfloat16
