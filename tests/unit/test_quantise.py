"""8-bit weights: what rounding keeps, and that no arrangement the exporter makes loses the integers."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import nn

from export.quantise import SMALLEST, as_integers, round_weights, rounded, store_in_8_bits


def random_weight(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(shape[0], *(1 for _ in shape[1:]), generator=generator) * 10 + 0.01
    return torch.randn(shape, generator=generator) * spread


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 1 << 16), power=st.integers(-30, 30))
@settings(deadline=None)
def test_the_integers_are_read_off_a_rounded_matrix_whatever_its_scale(rows, columns, seed, power):
    values = rounded(random_weight(rows, columns, seed=seed) * 2.0**power).numpy()
    stored = as_integers(values)
    assert stored is not None
    assert stored.axis == 0
    np.testing.assert_array_equal(stored.integers * stored.scales[:, None], values)


def test_a_weight_moves_by_half_a_step_of_its_row_at_most():
    weight = random_weight(40, 50)
    steps = weight.abs().amax(1, keepdim=True) / 127
    assert ((rounded(weight) - weight).abs() <= steps * 0.5001).all()


def test_rounding_twice_is_rounding_once():
    once = rounded(random_weight(30, 20))
    assert torch.equal(rounded(once), once)


def test_a_row_of_zeros_stays_zero():
    weight = random_weight(3, 5)
    weight[1] = 0
    assert torch.equal(rounded(weight)[1], torch.zeros(5))
    assert as_integers(rounded(weight).numpy()) is not None


@pytest.mark.parametrize(
    ("arrange", "shape"),
    [
        (lambda weight: weight.T.contiguous(), (24, 16)),
        (lambda weight: torch.stack([weight, weight.flip(0)]), (24, 16)),
        (lambda weight: torch.cat([weight[8:], weight[:8]]), (24, 16)),
        (lambda weight: weight, (24, 4, 3, 3)),
    ],
    ids=["transposed", "stacked", "reordered", "convolution"],
)
def test_the_exporters_arrangements_lose_nothing(arrange, shape):
    values = arrange(rounded(random_weight(*shape))).numpy()
    stored = as_integers(values)
    assert stored is not None
    scales = stored.scales.reshape([-1 if axis == stored.axis else 1 for axis in range(stored.integers.ndim)])
    np.testing.assert_array_equal((stored.integers * scales).reshape(values.shape), values)


def test_a_matrix_that_was_not_rounded_stays_as_it_is():
    assert as_integers(random_weight(24, 16).numpy()) is None


def test_only_large_matrices_are_rounded():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(SMALLEST), nn.Linear(4, 4))
    before = [parameter.clone() for parameter in model.parameters()]
    round_weights(model)
    changed = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)]
    assert changed == [True, *[False] * 5]


def test_a_graph_with_stored_weights_computes_the_same_numbers_in_a_quarter_of_the_bytes():
    weight, stack = (
        rounded(random_weight(96, 64)).numpy(),
        rounded(random_weight(2 * 48, 64)).numpy().reshape(2, 48, 64),
    )
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "weight"], ["y"], transB=1),
            helper.make_node("Transpose", ["stack"], ["moved"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["x", "moved"], ["z"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 64])],
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * rank)
            for name, rank in (("y", 2), ("z", 3))
        ],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(stack, "stack")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    inputs = {"x": np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)}
    size, expected = model.ByteSize(), run(model, inputs)
    store_in_8_bits(model)
    onnx.checker.check_model(model)
    assert model.ByteSize() < 0.3 * size
    for given_output, wanted in zip(run(model, inputs), expected, strict=True):
        np.testing.assert_array_equal(given_output, wanted)


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, inputs)
