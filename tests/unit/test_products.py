"""8-bit products against arithmetic done by hand, and what is stored in 8 bits."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.calibration import ranges_of
from export.products import LARGEST_FACTOR, products_of, quantise
from export.storage import integers_of, store_in_8_bits
from training.recipe import MIGRATION

INPUTS, OUTPUTS = 64, 96


def model_of(nodes, constants, outputs, inputs=None):
    """A float32 graph over x (R, INPUTS)."""
    inputs = inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["R", INPUTS])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, values, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model, feeds, outputs=("y",)):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(outputs), feeds)


def in_8_bits(model, feeds):
    return quantise(model, ranges_of(model, products_of(model), [feeds]), MIGRATION)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def on_grid(random, shape, largest, scale):
    """Numbers that 8 bits hold exactly, the extremes among them."""
    integers = random.integers(-largest, largest, shape, endpoint=True)
    integers[..., 0], integers[..., 1] = largest, -largest
    return (integers * scale).astype(np.float32)


@pytest.mark.parametrize("operator", ["MatMul", "Gemm", "MatMul and Add"])
def test_numbers_on_the_grid_are_multiplied_exactly(operator, random):
    x = np.clip(on_grid(random, (7, INPUTS), 127, 1 / 64), -127 / 64, 127 / 64)
    x[0, 2] = 128 / 64  # with -127, the range of 255 steps of 1 / 64
    weight = on_grid(random, (INPUTS, OUTPUTS), LARGEST_FACTOR, 1 / 32)
    weight[0] = LARGEST_FACTOR / 32  # so that every output has the scale of the grid
    bias = random.normal(size=OUTPUTS).astype(np.float32)
    bias[5] = -np.inf
    wanted = x.astype(np.float64) @ weight
    if operator == "MatMul":
        model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"], "p")], {"w": weight}, ["y"])
    elif operator == "Gemm":
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "p", transB=1)
        model = model_of([node], {"w": np.ascontiguousarray(weight.T), "b": bias}, ["y"])
        wanted = wanted + bias
    else:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["s"], "p"), helper.make_node("Add", ["b", "s"], ["y"], "a")]
        model = model_of(nodes, {"w": weight, "b": bias}, ["y"])
        wanted = wanted + bias
    (got,) = run(in_8_bits(model, {"x": x}), {"x": x})
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_the_largest_sums_of_two_products_are_not_cut(random):
    x = np.ones((3, INPUTS), np.float32)
    weight = np.ones((INPUTS, OUTPUTS), np.float32)
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"], "p")], {"w": weight}, ["y"])
    (got,) = run(in_8_bits(model, {"x": x}), {"x": x})
    np.testing.assert_allclose(got, INPUTS, rtol=1e-5)
    del random


def test_a_row_has_the_same_bits_beside_any_others(random):
    weight = random.normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
    rows = random.normal(size=(161, INPUTS)).astype(np.float32)
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"], "p")], {"w": weight}, ["y"])
    integers = in_8_bits(model, {"x": rows})
    (together,) = run(integers, {"x": rows * np.where(np.arange(161)[:, None] == 7, 1, 50).astype(np.float32)})
    (alone,) = run(integers, {"x": rows[7:8]})
    np.testing.assert_array_equal(alone[0], together[7])


def test_channels_of_different_sizes_are_evened_out_between_two_products(random):
    first = random.normal(size=(INPUTS, 80)).astype(np.float32) * np.geomspace(0.01, 10, 80, dtype=np.float32)
    second = (
        random.normal(size=(80, OUTPUTS)).astype(np.float32) / np.geomspace(0.01, 10, 80, dtype=np.float32)[:, None]
    )
    nodes = [helper.make_node("MatMul", ["x", "v"], ["h"], "one"), helper.make_node("MatMul", ["h", "w"], ["y"], "two")]
    x = random.normal(size=(50, INPUTS)).astype(np.float32)
    model = model_of(nodes, {"v": first, "w": second}, ["y"])
    (wanted,) = run(model, {"x": x})
    (got,) = run(in_8_bits(model, {"x": x}), {"x": x})
    # One scale for channels a thousand times apart would leave the small ones nothing, and they weigh as much.
    assert np.abs(got - wanted).mean() < 0.03 * np.abs(wanted).mean()


def test_how_much_is_evened_out_is_chosen(random):
    sizes = np.geomspace(0.01, 10, 80, dtype=np.float32)
    constants = {"v": random.normal(size=(INPUTS, 80)).astype(np.float32) * sizes}
    constants["w"] = random.normal(size=(80, OUTPUTS)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "v"], ["h"], "one"), helper.make_node("MatMul", ["h", "w"], ["y"], "two")]
    x = random.normal(size=(50, INPUTS)).astype(np.float32)
    model = model_of(nodes, constants, ["y"])
    ranges = ranges_of(model, products_of(model), [{"x": x}])
    (wanted,) = run(model, {"x": x})
    errors = [np.abs(run(quantise(model, ranges, migration), {"x": x})[0] - wanted).mean() for migration in (0.0, 0.5)]
    assert errors[1] < 0.8 * errors[0]  # half of it in the weights, half left where it was


@pytest.mark.parametrize("between", ["relu", "bias and relu", "norm"])
def test_channels_are_evened_out_through_what_scales_along(between, random):
    sizes = np.geomspace(0.01, 10, 80, dtype=np.float32)
    constants = {
        "v": random.normal(size=(INPUTS, 80)).astype(np.float32) * (1 if between == "norm" else sizes),
        "w": random.normal(size=(80, OUTPUTS)).astype(np.float32) / sizes[:, None],
        "b": random.normal(size=80).astype(np.float32) * sizes,
        "g": sizes,
    }
    middle = {
        "relu": [helper.make_node("Relu", ["h"], ["k"], "relu")],
        "bias and relu": [
            helper.make_node("Add", ["b", "h"], ["sum"], "add"),
            helper.make_node("Relu", ["sum"], ["k"], "relu"),
        ],
        "norm": [helper.make_node("LayerNormalization", ["h", "g", "b"], ["k"], "norm")],
    }[between]
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["h"], "one"),
        *middle,
        helper.make_node("MatMul", ["k", "w"], ["y"], "two"),
    ]
    read = {name for node in nodes for name in node.input}
    model = model_of(nodes, {name: array for name, array in constants.items() if name in read}, ["y"])
    x = random.normal(size=(50, INPUTS)).astype(np.float32)
    (wanted,) = run(model, {"x": x})
    (got,) = run(in_8_bits(model, {"x": x}), {"x": x})
    assert np.abs(got - wanted).mean() < 0.04 * np.abs(wanted).mean()


def test_a_constant_that_others_read_is_not_scaled(random):
    constants = {"w": random.normal(size=(INPUTS, OUTPUTS)).astype(np.float32), "b": np.ones(INPUTS, np.float32)}
    constants["g"] = np.geomspace(0.01, 10, INPUTS, dtype=np.float32)
    nodes = [
        helper.make_node("LayerNormalization", ["x", "g", "b"], ["h"], "norm"),
        helper.make_node("MatMul", ["h", "w"], ["y"], "product"),
        helper.make_node("Add", ["x", "g"], ["z"], "add"),
    ]
    x = random.normal(size=(5, INPUTS)).astype(np.float32)
    (got,) = run(in_8_bits(model_of(nodes, constants, ["y", "z"]), {"x": x}), {"x": x}, ["z"])
    np.testing.assert_array_equal(got, x + constants["g"])


def test_a_table_tied_to_a_product_is_stored_once_and_looked_up_as_it_was(random):
    table = random.normal(size=(OUTPUTS, INPUTS)).astype(np.float32)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["R"])
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "look"),
        helper.make_node("MatMul", ["e", "v"], ["h"], "one"),
        helper.make_node("Gemm", ["h", "table"], ["y"], "two", transB=1),
    ]
    model = model_of(
        nodes, {"table": table, "v": np.diag(np.geomspace(1, 90, 64)).astype(np.float32)}, ["y", "e"], [ids]
    )
    feeds = {"ids": np.arange(0, OUTPUTS, 3)}
    integers = in_8_bits(model, feeds)
    large = [tensor for tensor in integers.graph.initializer if np.prod(tensor.dims) >= OUTPUTS * INPUTS]
    assert [tensor.data_type for tensor in large] == [TensorProto.INT8]
    (got,) = run(integers, feeds, ["e"])
    np.testing.assert_allclose(got, table[feeds["ids"]], atol=2 * np.abs(table).max() / LARGEST_FACTOR)


def test_other_large_constants_are_stored_in_one_byte_a_number(random):
    stacked = random.normal(size=(2, INPUTS, OUTPUTS)).astype(np.float32)
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"], "p")], {"w": stacked}, ["y"])
    x = random.normal(size=(4, INPUTS)).astype(np.float32)
    stored = in_8_bits(model, {"x": x})
    assert {tensor.data_type for tensor in stored.graph.initializer if np.prod(tensor.dims) > 2048} == {
        TensorProto.INT8
    }
    (wanted,), (got,) = run(model, {"x": x}), run(stored, {"x": x})
    np.testing.assert_allclose(got, wanted, atol=0.5)


def test_what_leaves_the_graph_between_two_products_stays_what_it_was(random):
    weights = {name: random.normal(size=(INPUTS, INPUTS)).astype(np.float32) for name in "vw"}
    weights["v"] *= np.geomspace(0.01, 10, INPUTS, dtype=np.float32)
    bias = {"b": np.ones(INPUTS, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["h"], "one"),
        helper.make_node("MatMul", ["h", "w"], ["s"], "two"),
        helper.make_node("Add", ["s", "b"], ["y"], "add"),
    ]
    x = random.normal(size=(50, INPUTS)).astype(np.float32)
    model = model_of(nodes, weights | bias, ["h", "s", "y"])
    wanted, got = run(model, {"x": x}, "hsy"), run(in_8_bits(model, {"x": x}), {"x": x}, "hsy")
    for name, before, after in zip("hsy", wanted, got, strict=True):
        assert np.abs(after - before).mean() < 0.1 * np.abs(before).mean(), name


@pytest.mark.parametrize("attributes", [{"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}])
def test_a_gemm_that_does_more_than_multiply_and_add_stays_float32(attributes, random):
    constants = {"w": random.normal(size=(INPUTS, OUTPUTS)).astype(np.float32), "b": np.ones(OUTPUTS, np.float32)}
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "p", **attributes)
    assert products_of(model_of([node], constants, ["y"])) == []


def test_integers_of_a_row_of_zeros_have_a_scale():
    integers, scales = integers_of(np.zeros((2, 3), np.float32), 0, 127)
    assert not integers.any()
    np.testing.assert_array_equal(scales, [1, 1])


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_weight_that_stays_float32_is_stored_with_a_scale_an_output(transposed, random):
    weight = random.normal(size=(INPUTS, OUTPUTS)).astype(np.float32) * np.geomspace(
        0.001, 100, OUTPUTS, dtype=np.float32
    )
    node = helper.make_node("Gemm", ["x", "w"], ["y"], "p", transB=transposed)
    model = model_of([node], {"w": np.ascontiguousarray(weight.T) if transposed else weight}, ["y"])
    x = random.normal(size=(9, INPUTS)).astype(np.float32)
    (wanted,), (got,) = run(model, {"x": x}), run(store_in_8_bits(model), {"x": x})
    assert (np.abs(got - wanted).mean(0) < 0.02 * np.abs(wanted).mean(0)).all()
