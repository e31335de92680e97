"""Weights from torchvision's files: read by name, and refused by name."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from tests.fakes.networks import NARROW, narrow_network
from training.config import RecipeError
from training.models.networks import EIGHT_BIT, NetworkConfig, NetworkFile
from training.models.resnet import BasicBlock, ResNet, ResNetPlan
from training.models.weight_files import load_torchvision_weights

CLASSIFIER = {"basic": "fc", "bottleneck": "fc", "dense": "classifier", "mobile": "classifier.1"}


def state_of(name):
    """What torchvision's file of such a network has: a classifier and the counts of batches too."""
    network = narrow_network(name)
    state = dict(network.state_dict())
    for key in list(state):
        if key.endswith("running_var"):
            state[key.replace("running_var", "num_batches_tracked")] = torch.tensor(5)
    head = nn.Linear(network.feature_size, 10)
    return state | {f"{CLASSIFIER[name]}.{key}": tensor for key, tensor in head.state_dict().items()}


def fresh(name):
    torch.manual_seed(1)
    return NARROW[name]()


def check(network, state):
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, state[name])


@pytest.mark.parametrize("name", NARROW)
def test_a_state_dict_is_read_without_its_classifier(name, tmp_path):
    state = state_of(name)
    torch.save(state, tmp_path / "weights.pth")
    network = fresh(name)
    load_torchvision_weights(network, tmp_path / "weights.pth")
    check(network, state)


def test_files_of_the_old_format_are_read(tmp_path):
    state = {name: nn.Parameter(tensor) for name, tensor in narrow_network("basic").state_dict().items()}
    torch.save(state, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    network = fresh("basic")
    load_torchvision_weights(network, tmp_path / "weights.pth")
    check(network, state)


def test_the_same_names_in_an_npz_file_are_read(tmp_path):
    state = state_of("bottleneck")
    np.savez(tmp_path / "weights.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    network = fresh("bottleneck")
    load_torchvision_weights(network, tmp_path / "weights.npz")
    check(network, state)


def test_densenets_old_names_are_read(tmp_path):
    state = state_of("dense")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor for name, tensor in state.items()}
    assert "features.denseblock2.denselayer1.norm.1.running_mean" in old
    torch.save(old, tmp_path / "weights.pth")
    network = fresh("dense")
    load_torchvision_weights(network, tmp_path / "weights.pth")
    check(network, state)


def test_a_missing_tensor_is_named_with_its_shape(tmp_path):
    state = state_of("basic")
    del state["layer3.0.bn2.running_var"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(RecipeError, match=r"weights.pth: layer3.0.bn2.running_var: missing; wanted: \(24,\)"):
        load_torchvision_weights(fresh("basic"), tmp_path / "weights.pth")


def test_a_tensor_of_another_shape_is_named_with_both(tmp_path):
    torch.save(state_of("bottleneck"), tmp_path / "weights.pth")
    wider = ResNet(ResNetPlan(BasicBlock, (2, 1, 1, 1)), width=4)
    pattern = r"layer1.0.conv1.weight: given \(4, 4, 1, 1\); wanted: \(4, 4, 3, 3\)"
    with pytest.raises(RecipeError, match=pattern):
        load_torchvision_weights(wider, tmp_path / "weights.pth")


def test_the_file_of_a_deeper_network_is_refused(tmp_path):
    """A shallower network finds every name it asks for, in the right shape."""
    torch.save(ResNet(ResNetPlan(BasicBlock, (2, 1, 2, 2)), width=6).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(RecipeError, match=r"layer3.1.conv1.weight: given .*no such layer \(10 tensors too many"):
        load_torchvision_weights(fresh("basic"), tmp_path / "weights.pth")


class Code:
    """What a file must not be able to run."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_files_of_another_kind_are_refused_and_code_never_run(tmp_path, capsys):
    file = tmp_path / "weights.pth"
    for content, reason in (
        (b"not a file of weights", "cannot be read"),
        ([1, 2], "given list"),
        (Code(), "cannot be"),
    ):
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            torch.save(content, file)
        with pytest.raises(RecipeError, match=f"weights.pth: {reason}"):
            load_torchvision_weights(fresh("basic"), file)
    with pytest.raises(RecipeError, match=r"nowhere.pth: cannot be read"):
        load_torchvision_weights(fresh("basic"), tmp_path / "nowhere.pth")
    assert "unpickled" not in capsys.readouterr().out


def test_a_whole_network_is_made_and_loaded_by_its_kind(tmp_path):
    torch.manual_seed(0)
    state = ResNet(ResNetPlan(BasicBlock, (2, 2, 2, 2))).state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    network = NetworkFile("resnet18", tmp_path / "resnet18.pth", "last").load()
    check(network, state)
    assert [name for name, module in network.named_children() if next(module.parameters(), None) is not None][
        -1
    ] == "layer4"
    assert not network.layer3[0].conv1.weight.requires_grad
    assert network.layer4[0].conv1.weight.requires_grad
    with pytest.raises(RecipeError, match=f"resnet18.pth: cannot be read as weights of {EIGHT_BIT}"):
        NetworkFile(EIGHT_BIT, tmp_path / "resnet18.pth", "none").load()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kind": "resnet51", "weights": "a.pth"}, "kind"),
        ({"kind": "resnet50", "weights": "a.safetensors"}, "weights"),
        ({"kind": EIGHT_BIT, "weights": "a.npz", "trainable": "all"}, "integers"),
    ],
)
def test_what_a_recipe_may_not_say_of_a_network_is_refused(given, reason):
    with pytest.raises(ValueError, match=reason):
        NetworkConfig.model_validate(given)
