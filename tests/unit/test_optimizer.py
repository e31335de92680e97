"""AdamW, and Muon beside it."""

import copy

import pytest
import torch
from torch import nn

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
