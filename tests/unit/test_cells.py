"""The cells compute the lecture's equations, worked out here in NumPy, one gate after the other."""

import numpy as np
import pytest
import torch

from training.models.base import State
from training.models.cells import CELLS, Cell, CellKind

BATCH, INPUT, HIDDEN = 3, 4, 5
Arrays = dict[str, np.ndarray]


def logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def gate_blocks(cell: Cell) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """W, U and b of each gate, in the order that onnx.ai states for the operator."""
    with torch.no_grad():
        weights = (cell.input_weight, cell.recurrent_weight(), cell.bias)
        blocks = [weight.double().numpy().reshape(cell.gates, HIDDEN, -1) for weight in weights]
    return [(w, u, b[:, 0]) for w, u, b in zip(*blocks, strict=True)]


def rnn_step(cell: Cell, x: np.ndarray, state: Arrays) -> Arrays:
    ((w, u, b),) = gate_blocks(cell)
    return {"hidden": np.tanh(x @ w.T + state["hidden"] @ u.T + b)}


def gru_step(cell: Cell, x: np.ndarray, state: Arrays) -> Arrays:
    (w_z, u_z, b_z), (w_r, u_r, b_r), (w_h, u_h, b_h) = gate_blocks(cell)
    h = state["hidden"]
    z = logistic(x @ w_z.T + h @ u_z.T + b_z)
    r = logistic(x @ w_r.T + h @ u_r.T + b_r)
    n = np.tanh(x @ w_h.T + (r * h) @ u_h.T + b_h)
    return {"hidden": z * h + (1 - z) * n}


def gru_reset_after_step(cell: Cell, x: np.ndarray, state: Arrays) -> Arrays:
    (w_z, u_z, b_z), (w_r, u_r, b_r), (w_h, u_h, b_h) = gate_blocks(cell)
    *none, b_u = cell.recurrent_bias().detach().double().numpy().reshape(3, HIDDEN)
    assert not np.any(none)
    h = state["hidden"]
    z = logistic(x @ w_z.T + h @ u_z.T + b_z)
    r = logistic(x @ w_r.T + h @ u_r.T + b_r)
    n = np.tanh(x @ w_h.T + b_h + r * (h @ u_h.T + b_u))
    return {"hidden": z * h + (1 - z) * n}


def lstm_step(cell: Cell, x: np.ndarray, state: Arrays) -> Arrays:
    sums = [x @ w.T + state["hidden"] @ u.T + b for w, u, b in gate_blocks(cell)]
    i, o, f, g = logistic(sums[0]), logistic(sums[1]), logistic(sums[2]), np.tanh(sums[3])
    c = f * state["cell"] + i * g
    return {"hidden": o * np.tanh(c), "cell": c}


EQUATIONS = {"rnn": rnn_step, "gru": gru_step, "gru_reset_after": gru_reset_after_step, "lstm": lstm_step}


def random_cell(kind: CellKind) -> Cell:
    torch.manual_seed(1)
    cell = CELLS[kind](INPUT, HIDDEN)
    for parameter in cell.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    return cell


def random_state(cell: Cell) -> State:
    return {name: torch.randn(BATCH, HIDDEN) for name in cell.state_names}


@pytest.mark.parametrize("kind", CELLS)
def test_a_step_computes_the_equations(kind: CellKind) -> None:
    cell = random_cell(kind)
    inputs, state = torch.randn(BATCH, INPUT), random_state(cell)
    got = cell.step(cell.project(inputs), state)
    expected = EQUATIONS[kind](cell, inputs.double().numpy(), {n: t.double().numpy() for n, t in state.items()})
    assert set(got) == set(expected) == set(cell.state_names)
    for name, tensor in got.items():
        np.testing.assert_allclose(tensor.detach().numpy(), expected[name], atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_every_weight_and_both_inputs_get_a_gradient(kind: CellKind) -> None:
    cell = random_cell(kind)
    inputs = torch.randn(BATCH, INPUT, requires_grad=True)
    state = {name: tensor.requires_grad_() for name, tensor in random_state(cell).items()}
    advanced = cell.step(cell.project(inputs), state)
    sum(tensor.square().sum() for tensor in advanced.values()).backward()
    for tensor in [inputs, *state.values(), *cell.parameters()]:
        assert tensor.grad is not None
        assert tensor.grad.abs().min() > 0


def test_the_gru_s_gradient_is_that_of_its_finite_differences() -> None:
    cell = random_cell("gru").double()
    inputs = torch.randn(BATCH, INPUT, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(BATCH, HIDDEN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, h: cell.step(cell.project(x), {"hidden": h})["hidden"], (inputs, hidden))


def test_the_gru_that_resets_after_the_product_is_torchs() -> None:
    cell = random_cell("gru_reset_after")
    torchs = torch.nn.GRUCell(INPUT, HIDDEN)
    ours = {
        "weight_ih": cell.input_weight,
        "weight_hh": cell.recurrent_weight(),
        "bias_ih": cell.bias,
        "bias_hh": cell.recurrent_bias(),
    }
    swapped = {name: weights.chunk(3) for name, weights in ours.items()}  # z r h; torch's order is r z n
    torchs.load_state_dict({name: torch.cat([r, z, n]) for name, (z, r, n) in swapped.items()})
    inputs, state = torch.randn(BATCH, INPUT), random_state(cell)
    expected = torchs(inputs, state["hidden"])
    torch.testing.assert_close(cell.step(cell.project(inputs), state)["hidden"], expected, atol=1e-6, rtol=0)


def test_an_lstm_remembers_at_first() -> None:
    cell = CELLS["lstm"](INPUT, HIDDEN)
    assert torch.equal(cell.bias.detach().view(4, HIDDEN)[2], torch.ones(HIDDEN))  # i o f c
