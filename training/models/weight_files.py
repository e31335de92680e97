"""Weights of image networks from files that users have: torchvision state dicts, checked name by name."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.config import RecipeError
from training.models.image_network import ImageNetwork

CLASSIFIER = re.compile(r"(fc|classifier)\.")
BATCH_COUNT = ".num_batches_tracked"
OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
"""DenseNet's files are older than torchvision's module: its loader too reads `norm.1.weight` as `norm1.weight`."""

_UNREADABLE = (OSError, RuntimeError, EOFError, TypeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile)


def load_torchvision_weights(network: ImageNetwork, path: Path) -> None:
    """Fill a network from a state dict under torchvision's names; those of the classifier are left out.

    Names that the network lacks are refused too: a file of ResNet-152 has all that ResNet-101 asks for, and more.

    Args:
        network: one whose layers carry torchvision's names.
        path: a .pth file that `torch.save` wrote, or an .npz file with the same names.

    Raises:
        RecipeError: the file cannot be read, or a tensor is missing, too many or of another shape; the message names it.
    """
    given = {OLD_DENSE_LAYER.sub(r"\1\2.", name): tensor for name, tensor in read_tensors(path).items()}
    given = {
        name: tensor for name, tensor in given.items() if not CLASSIFIER.match(name) and not name.endswith(BATCH_COUNT)
    }
    wanted = network.state_dict()
    _check(path, given, wanted)
    network.load_state_dict(given)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors, never code; RecipeError where the file is of no known form."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise RecipeError(f"{path}: cannot be read as weights: {error}") from error
    if not isinstance(content, Mapping) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise RecipeError(f"{path}: given {type(content).__name__}; allowed: a state dict, tensors by name")
    return dict(content)


def _check(path: Path, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Name the first tensor that does not fit."""
    for name, tensor in wanted.items():
        if name not in given:
            raise RecipeError(f"{path}: {name}: missing; wanted: {_shape(tensor)}")
        if given[name].shape != tensor.shape:
            raise RecipeError(f"{path}: {name}: given {_shape(given[name])}; wanted: {_shape(tensor)}")
    further = [name for name in given if name not in wanted]
    if further:
        raise RecipeError(
            f"{path}: {further[0]}: given {_shape(given[further[0]])}; wanted: no such layer "
            f"({len(further)} tensors too many, so the file is of a larger network)"
        )


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
