"""The recurrent encoder, both ways and one: padding is nothing, and ONNX's operator with the same weights says the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from training.models.cells import CELLS, CellKind
from training.models.recurrent import RecurrentLayer, RecurrentStack

INPUT, HIDDEN = 4, 3
ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
lengths_of_sources = st.lists(st.integers(1, 7), min_size=1, max_size=4)
kinds = st.sampled_from(sorted(CELLS))


def ragged(lengths: list[int], padding: int, filler: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Random inputs (B, S, I) of these lengths, `filler` at padding; and their mask (B, S)."""
    steps = max(lengths) + padding
    mask = torch.arange(steps) < torch.tensor(lengths).unsqueeze(1)
    inputs = torch.full((len(lengths), steps, INPUT), filler)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(row)
        inputs[row, :length] = torch.randn(length, INPUT, generator=generator)
    return inputs, mask


@settings(max_examples=30, deadline=None)
@given(kinds, st.booleans(), lengths_of_sources, st.integers(0, 3), st.sampled_from([0.0, 1e6]))
def test_padding_and_neighbours_change_nothing(
    kind: CellKind, bidirectional: bool, lengths: list[int], padding: int, filler: float
) -> None:
    torch.manual_seed(1)
    stack = RecurrentStack(kind, INPUT, HIDDEN, num_layers=2, dropout=0.5, bidirectional=bidirectional).eval()
    inputs, mask = ragged(lengths, padding, filler)
    outputs, last = stack(inputs, mask)
    assert not outputs[~mask].any()
    for row, length in enumerate(lengths):
        alone, alone_last = stack(inputs[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(outputs[row, :length], alone[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(last[row], alone_last[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", CELLS)
def test_each_direction_starts_at_its_own_end_of_the_sequence(kind: CellKind) -> None:
    torch.manual_seed(1)
    layer = RecurrentLayer(kind, INPUT, HIDDEN, bidirectional=True)
    layer.backward_cell = layer.forward_cell
    inputs, mask = ragged([5, 2], 1, 1e6)
    mirrored = inputs.clone()
    mirrored[0, :5], mirrored[1, :2] = inputs[0, :5].flip(0), inputs[1, :2].flip(0)
    (outputs, _), (reversed_outputs, _) = layer(inputs, mask), layer(mirrored, mask)
    for row, length in ((0, 5), (1, 2)):
        ahead = reversed_outputs[row, :length, :HIDDEN].flip(0)
        torch.testing.assert_close(outputs[row, :length, HIDDEN:], ahead)


def onnx_model(layer: RecurrentLayer, steps: int, batch: int) -> onnx.ModelProto:
    """A graph of one recurrent operator with the layer's weights."""
    operator = layer.forward_cell.onnx_operator
    directions = len(layer.cells)
    names = ("W", "R", "B")
    weights = {name: tensor.numpy() for name, tensor in zip(names, layer.onnx_weights(), strict=True)}
    node = helper.make_node(
        operator,
        ["X", "W", "R", "B", "lengths"],
        ["Y", "Y_h"],
        hidden_size=HIDDEN,
        direction=layer.direction,
        activations=ACTIVATIONS[operator] * directions,
        **layer.forward_cell.onnx_attributes,
    )
    graph = helper.make_graph(
        [node],
        "layer",
        [
            helper.make_tensor_value_info("X", TensorProto.FLOAT, [steps, batch, INPUT]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, [batch]),
        ],
        [
            helper.make_tensor_value_info("Y", TensorProto.FLOAT, [steps, directions, batch, HIDDEN]),
            helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [directions, batch, HIDDEN]),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("bidirectional", [True, False], ids=["both ways", "one way"])
@pytest.mark.parametrize("kind", CELLS)
def test_onnx_runs_the_layer_with_its_weights_as_they_are(kind: CellKind, bidirectional: bool) -> None:
    torch.manual_seed(1)
    layer = RecurrentLayer(kind, INPUT, HIDDEN, bidirectional=bidirectional)
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    lengths = [5, 2, 3]
    inputs, mask = ragged(lengths, 0, 0.0)
    model = onnx_model(layer, 5, 3)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"X": inputs.transpose(0, 1).numpy(), "lengths": np.array(lengths, np.int32)}
    y, y_h = session.run(None, feeds)  # (S, D, B, H), (D, B, H)
    outputs, last = layer(inputs, mask)
    np.testing.assert_allclose(y.transpose(2, 0, 1, 3).reshape(3, 5, -1), outputs.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(y_h.transpose(1, 0, 2).reshape(3, -1), last.detach().numpy(), atol=1e-6)
