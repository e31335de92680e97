"""A captioning recipe chooses its network: from the words in it to features, a model, and one that trains its network."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console
from torch import Tensor

from tests.fakes.networks import NARROW, narrow_network
from training.config import RecipeError
from training.models import networks
from training.models.captioning import CaptioningModelConfig
from training.models.networks import EIGHT_BIT
from training.problems.captioning import CaptioningConfig
from training.progress import Reporter
from training.recipe import Recipe, find_recipe, read_recipe
from training.trainer import Trainer, TrainingConfig

MODEL = CaptioningModelConfig(kind="captioning", embedding_size=6, hidden_size=8, dropout=0.0)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with three photos and the weights of a narrow network, which stands for resnet18 here."""
    monkeypatch.setitem(networks.NETWORKS, "resnet18", NARROW["basic"])
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, split in enumerate(("train", "train", "val")):
        noise = np.random.default_rng(number).integers(0, 256, (224, 224, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{number}.png")
        lines.append(json.dumps({"image": f"{number}.png", "split": split, "captions": ["A dog runs .", "Two dogs !"]}))
    (folder / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    torch.save(narrow_network("basic").state_dict(), folder / "narrow.pth")
    return folder


def config_of(**network):
    section = {"kind": "captioning", "captions": "captions.jsonl", "images": "images", "vocabulary_size": 120}
    return CaptioningConfig.model_validate(
        section | {"network": {"kind": "resnet18", "weights": "narrow.pth"} | network}
    )


def build(config, data, name="one"):
    run = data.parent / "runs" / name
    run.mkdir(parents=True, exist_ok=True)
    return config.build(data, run, seed=1), run


def recipe_with(network):
    content = yaml.safe_load(find_recipe("captioning-en").read_text(encoding="utf-8"))
    content["problem"]["network"] = network
    return content


def test_a_path_alone_is_the_8_bit_mobilenet():
    packaged = read_recipe(find_recipe("captioning-en"))
    weights = "mobilenet_v2/mobilenet_v2_1.0_224_int8.npz"
    assert packaged == Recipe.model_validate(recipe_with({"kind": EIGHT_BIT, "weights": weights}))
    assert packaged.problem.network.trainable == "none"
    assert CaptioningConfig(kind="captioning").network == packaged.problem.network


def test_a_key_that_no_network_has_is_named_with_those_it_has(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe_with({"kind": "resnet50", "path": "a.pth"})), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"network.path: unknown key.*allowed: kind, trainable, weights"):
        read_recipe(file)


def test_features_come_from_the_network_that_was_chosen(data):
    problem, run = build(config_of(), data)
    (batch,) = problem.training_batches(0)
    network = narrow_network("basic")
    assert batch.inputs["features"].shape == (2, 49, network.feature_size)
    (held_back,) = problem.held_back_inputs(1)
    (validation,) = problem.validation_batches()
    expected = network(held_back["image"]).detach()
    torch.testing.assert_close(validation.inputs["features"].float(), expected, rtol=2e-3, atol=2e-3)  # float16

    model = MODEL.build(problem).eval()
    assert (run / "narrow.pth").is_file()
    assert not any(weights.requires_grad for weights in model.encoder.network.parameters())
    without_data = MODEL.build(config_of().build(None, run, seed=1)).encoder.network.state_dict()
    torch.testing.assert_close(without_data, network.state_dict())


def test_another_file_of_weights_makes_other_features(data):
    torch.save(narrow_network("basic", seed=5).state_dict(), data / "other.pth")
    seen = []
    for weights in ("narrow.pth", "other.pth"):
        problem, _ = build(config_of(weights=weights), data)
        (batch,) = problem.validation_batches()
        seen.append(batch.inputs["features"])
    assert not torch.equal(*seen)


def test_weights_of_another_network_stop_the_run_before_it_begins(data):
    torch.save(narrow_network("bottleneck").state_dict(), data / "other.pth")
    with pytest.raises(RecipeError, match=r"other.pth: conv1.weight: given \(4, 3, 7, 7\); wanted: \(6, 3, 7, 7\)"):
        build(config_of(weights="other.pth"), data)


def trained(data, trainable) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two updates, in the precision of the packaged recipe; the network's weights before and after."""
    problem, run = build(config_of(trainable=trainable), data, trainable)
    torch.manual_seed(0)
    model = MODEL.build(problem)
    before = {name: tensor.clone() for name, tensor in model.encoder.network.state_dict().items()}
    Trainer(
        TrainingConfig(steps=2, precision="bfloat16"), model, problem, run, reporter=Reporter(Console(quiet=True))
    ).train()
    return before, model.encoder.network.state_dict()


@pytest.mark.parametrize("trainable", ["none", "last", "all"])
def test_training_changes_what_it_was_told_to_of_the_network(data, trainable):
    before, after = trained(data, trainable)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert (
        changed
        == {
            "none": set(),
            "last": {"layer4"},
            "all": {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"},
        }[trainable]
    )
    assert not [name for name in before if "running" in name and not torch.equal(before[name], after[name])]


def test_a_trained_network_is_shown_images_as_features_show_them(data):
    frozen, _ = build(config_of(), data)
    problem, run = build(config_of(trainable="last"), data, "trained")
    model = MODEL.build(problem)
    for one, other in zip(frozen.training_batches(3), problem.training_batches(3), strict=True):
        assert other.inputs["image"].dtype == torch.uint8
        seen = model.encoder.network(other.inputs["image"]).detach()
        torch.testing.assert_close(one.inputs["features"].float(), seen, rtol=2e-3, atol=2e-3)
        assert one.target.tolist() == other.target.tolist()
    assert not list(run.glob("features-*"))
