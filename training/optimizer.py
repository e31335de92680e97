"""Optimisers: AdamW for every weight, or Muon for the matrices of hidden layers and AdamW for the rest."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.muon import Muon

OptimizerKind = Literal["adamw", "muon"]

SMALLEST_SIDE = 32
"""A matrix with a shorter side is a table of few vectors, not a map between layers: AdamW takes it."""


class CombinedOptimizer:
    """Several optimisers of disjoint weights that act as one.

    Attributes:
        param_groups: those of all parts; the trainer sets each group's `lr`.
    """

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parts' groups, live."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Update every weight."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what load_state_dict takes."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same kind of optimiser on the same weights."""
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)


def make_optimizer(
    kind: OptimizerKind, model: nn.Module, weight_decay: float
) -> torch.optim.Optimizer | CombinedOptimizer:
    """Make the optimiser of a model's trainable weights, learning rate 0 until it is set.

    AdamW (Loshchilov and Hutter 2019) decays matrices, not vectors. Muon (training/muon.py) makes each hidden matrix's momentum
    orthogonal.
    """
    trainable = [weights for weights in model.parameters() if weights.requires_grad]
    hidden = _hidden_matrices(model) if kind == "muon" else []
    taken = {id(weights) for weights in hidden}
    rest = [weights for weights in trainable if id(weights) not in taken]
    groups = [
        {"params": [weights for weights in rest if weights.dim() >= 2], "weight_decay": weight_decay},
        {"params": [weights for weights in rest if weights.dim() < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)
    if not hidden:
        return adamw
    return CombinedOptimizer([adamw, Muon(hidden, weight_decay)])


def _hidden_matrices(model: nn.Module) -> list[Tensor]:
    """Return the trainable matrices that map one layer to another; embeddings are tables and no such maps."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return [
        weights
        for weights in model.parameters()
        if weights.requires_grad
        and weights.dim() == 2
        and min(weights.shape) >= SMALLEST_SIDE
        and id(weights) not in tables
    ]
