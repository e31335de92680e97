"""Checkpoints: written whole or not at all; everything a run needs to go on exactly; and their mean."""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.config import RecipeError

Weights = dict[str, Tensor]


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write beside and rename, so that a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    with beside.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; tensors and plain values only, never code. RecipeError where the file is none."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RecipeError(f"{path}: is no whole checkpoint; allowed: a file that training wrote") from error
    return content


def average_weights(checkpoints: Sequence[Weights]) -> Weights:
    """Return the mean of each floating-point tensor, and the first checkpoint's own of any other."""
    first = checkpoints[0]
    return {
        name: torch.stack([weights[name] for weights in checkpoints]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def blend_weights(first: Weights, second: Weights, share: float) -> Weights:
    """Return floating-point tensors at `share` (0 to 1) of the way from the first to the second, and the second's own others."""
    return {
        name: torch.lerp(first[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in second.items()
    }


def random_state() -> dict[str, Any]:
    """Return the state of torch's random generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Set torch's random generators to a state of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
