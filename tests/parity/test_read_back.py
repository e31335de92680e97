"""Weights out of 8-bit bundles: those that went in, but for rounding, and a run that training can begin with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from export import read_back
from export.errors import ExportError
from export.float_convolution import FloatConvolution
from export.read_back import make_run, read_model
from training.models.convolution import QuantizedConvolution
from training.recipe import find_recipe
from training.run import load_run
from training.start import StartConfig

SHIPPED = Path("models/translation-en-de/1")


@pytest.fixture(scope="module")
def model():
    return read_model(SHIPPED)


def test_a_run_read_back_is_one_to_begin_with(model, tmp_path, monkeypatch):
    monkeypatch.setattr("export.read_back.read_model", lambda _: model)
    make_run(SHIPPED, tmp_path / "earlier", find_recipe("translation-en-de-student-tuned"))
    later = load_run(tmp_path / "earlier").model
    with torch.no_grad():
        for weight in later.parameters():
            weight.zero_()
    start = StartConfig(run="earlier", tokenizers=("source.model", "target.model"))
    start.check(tmp_path / "later")
    assert start.take_weights(later, tmp_path / "later") == sum(weight.numel() for weight in model.parameters())
    for name, weight in model.state_dict().items():
        assert torch.equal(later.state_dict()[name], weight), name


def test_a_recipe_of_another_architecture_is_refused_and_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr("export.read_back.read_model", lambda _: model)
    with pytest.raises(ExportError, match="not what translation-small builds"):
        make_run(SHIPPED, tmp_path / "run", find_recipe("translation-small"))
    assert not (tmp_path / "run").exists()


def test_weights_are_found_where_their_numbers_turn_up():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    values = np.full(read_back._number(model), np.nan, np.float32)
    numbered = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["between"]),
        helper.make_node("Gemm", ["between", "1.weight", "1.bias"], ["y"], transB=1),
    ]
    constants = {"first": numbered["0.weight"].T, "0.bias": numbered["0.bias"]}
    constants |= {name: numbered[name] for name in ("1.weight", "1.bias")}
    constants["root"] = np.array(4.0, np.float32)  # no weight, though it is a whole number: the root of a width
    graph = helper.make_graph(
        nodes,
        "traced",
        [],
        [],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    # As products.py calls what it scaled: by the output of the product.
    stored = {"first": wanted["0.weight"].numpy().T, "0.bias": wanted["0.bias"].numpy()}
    stored |= {"y.weight": wanted["1.weight"].numpy(), "y.bias": wanted["1.bias"].numpy()}
    stored["root"] = constants["root"]
    read_back._collect(values, helper.make_model(graph), stored)
    read_back._fill(model, values)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def test_a_weight_that_is_not_in_the_bundle_is_named():
    model = torch.nn.Linear(2, 3)
    with pytest.raises(ExportError, match="weight, bias: not found"):
        read_back._fill(model, np.full(read_back._number(model), np.nan, np.float32))


def test_a_float_convolution_pads_as_the_8_bit_one():
    torch.manual_seed(0)
    eight = QuantizedConvolution(2, 3, kernel=3, stride=2)
    eight.weight_q.copy_(torch.randint(0, 255, eight.weight_q.shape, dtype=torch.uint8))
    eight.weight_zero.fill_(128)
    plain = FloatConvolution(2, 3, 3, stride=2)
    plain.load_state_dict({"weight": eight.weight(), "bias": eight.bias})
    image = torch.rand(1, 2, 8, 8)
    assert torch.allclose(plain(image), eight(image), rtol=1e-4)


def test_a_run_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError, match="is there; allowed: a folder that is not"):
        make_run(SHIPPED, tmp_path / "run", find_recipe("translation-en-de"))
    assert not list((tmp_path / "run").iterdir())
