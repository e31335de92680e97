"""Recurrent cells with the equations of the lecture; x the input, h the state, * elementwise, s the logistic function.

Gates stand in ONNX's order (z r h; i o f c), so that the RNN, GRU and LSTM operators take the weights as they are.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from training.models.base import State

CellKind = Literal["rnn", "gru", "gru_reset_after", "lstm"]


class Cell(nn.Module):
    """One recurrent step, its input product apart so that it can be done for all time steps at once.

    Attributes:
        gates: how many blocks of H rows the weights have.
        onnx_operator: the ONNX operator that runs the same equations over a sequence.
        onnx_attributes: what the operator must be told so that they are the same.
        state_names: its state tensors, (B, H) float32 each; the first is the output.
        input_weight: (gates * H, I).
        bias: (gates * H,), added to the input product.
    """

    gates: ClassVar[int]
    onnx_operator: ClassVar[Literal["RNN", "GRU", "LSTM"]]
    onnx_attributes: ClassVar[Mapping[str, int]] = {}
    state_names: ClassVar[tuple[str, ...]] = ("hidden",)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.input_weight = nn.Parameter(torch.empty(self.gates * hidden_size, input_size))
        self.bias = nn.Parameter(torch.zeros(self.gates * hidden_size))
        nn.init.uniform_(self.input_weight, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))

    def _recurrent(self, gates: int) -> nn.Parameter:
        """Return fresh recurrent weights (gates * H, H), an orthogonal block for each gate (Saxe et al. 2014)."""
        blocks = [nn.init.orthogonal_(torch.empty(self.hidden_size, self.hidden_size)) for _ in range(gates)]
        return nn.Parameter(torch.cat(blocks))

    def project(self, inputs: Tensor) -> Tensor:
        """Return W x + b, (..., gates * H), for inputs (..., I)."""
        return nn.functional.linear(inputs, self.input_weight, self.bias)

    def step(self, projected: Tensor, state: State) -> State:
        """Advance one step from `projected` (B, gates * H) and the state (B, H) each."""
        raise NotImplementedError

    def recurrent_weight(self) -> Tensor:
        """Return the recurrent weights (gates * H, H), gates in ONNX's order."""
        raise NotImplementedError

    def recurrent_bias(self) -> Tensor:
        """Return what is added to the recurrent product (gates * H,): 0 in the cells whose `bias` does it all."""
        return torch.zeros_like(self.bias)

    def initial_state(self, batch_size: int) -> State:
        """Return zeros."""
        return {name: self.bias.new_zeros(batch_size, self.hidden_size) for name in self.state_names}


class RNNCell(Cell):
    """Elman 1990: h' = tanh(W x + U h + b)."""

    gates = 1
    onnx_operator = "RNN"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.recurrent = self._recurrent(1)

    def step(self, projected: Tensor, state: State) -> State:
        """Advance one step."""
        return {"hidden": torch.tanh(projected + nn.functional.linear(state["hidden"], self.recurrent))}

    def recurrent_weight(self) -> Tensor:
        """Return U (H, H)."""
        return self.recurrent


class GRUCell(Cell):
    """Cho et al. 2014, arXiv:1406.1078, the reset gate before the recurrent product (ONNX: linear_before_reset = 0).

    z = s(W_z x + U_z h + b_z)
    r = s(W_r x + U_r h + b_r)
    n = tanh(W_h x + U_h (r * h) + b_h)
    h' = z * h + (1 - z) * n
    """

    gates = 3
    onnx_operator = "GRU"
    onnx_attributes: ClassVar[Mapping[str, int]] = {"linear_before_reset": 0}

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.recurrent_gates = self._recurrent(2)  # U_z, U_r
        self.recurrent_candidate = self._recurrent(1)  # U_h

    def step(self, projected: Tensor, state: State) -> State:
        """Advance one step."""
        hidden, size = state["hidden"], self.hidden_size
        for_gates, for_candidate = torch.split(projected, [2 * size, size], -1)
        update, reset = torch.sigmoid(for_gates + nn.functional.linear(hidden, self.recurrent_gates)).chunk(2, -1)
        candidate = torch.tanh(for_candidate + nn.functional.linear(reset * hidden, self.recurrent_candidate))
        return {"hidden": candidate + update * (hidden - candidate)}

    def recurrent_weight(self) -> Tensor:
        """Return U_z, U_r, U_h as (3 H, H)."""
        return torch.cat([self.recurrent_gates, self.recurrent_candidate])


class GRUResetAfterCell(Cell):
    """The GRU of cuDNN and torch.nn.GRU, the reset gate after the recurrent product (ONNX: linear_before_reset = 1).

    z = s(W_z x + U_z h + b_z)
    r = s(W_r x + U_r h + b_r)
    n = tanh(W_h x + b_h + r * (U_h h + b_u))
    h' = z * h + (1 - z) * n

    All three recurrent products are one. b_u stands within the reset, so it cannot be one with b_h.
    """

    gates = 3
    onnx_operator = "GRU"
    onnx_attributes: ClassVar[Mapping[str, int]] = {"linear_before_reset": 1}

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.recurrent = self._recurrent(3)  # U_z, U_r, U_h
        self.candidate_bias = nn.Parameter(torch.zeros(hidden_size))  # b_u

    def step(self, projected: Tensor, state: State) -> State:
        """Advance one step."""
        hidden, size = state["hidden"], self.hidden_size
        for_gates, for_candidate = torch.split(projected, [2 * size, size], -1)
        product = nn.functional.linear(hidden, self.recurrent)
        to_gates, to_candidate = torch.split(product, [2 * size, size], -1)
        update, reset = torch.sigmoid(for_gates + to_gates).chunk(2, -1)
        candidate = torch.tanh(for_candidate + reset * (to_candidate + self.candidate_bias))
        return {"hidden": candidate + update * (hidden - candidate)}

    def recurrent_weight(self) -> Tensor:
        """Return U_z, U_r, U_h as (3 H, H)."""
        return self.recurrent

    def recurrent_bias(self) -> Tensor:
        """Return 0, 0, b_u as (3 H,)."""
        return nn.functional.pad(self.candidate_bias, (2 * self.hidden_size, 0))


class LSTMCell(Cell):
    """Hochreiter and Schmidhuber 1997 with forget gates (Gers et al. 2000).

    i, o, f = s(W x + U h + b), one each; g = tanh(W_c x + U_c h + b_c)
    c' = f * c + i * g
    h' = o * tanh(c')

    The forget gate's bias starts at 1 (Jozefowicz et al. 2015).
    """

    gates = 4
    onnx_operator = "LSTM"
    onnx_attributes: ClassVar[Mapping[str, int]] = {"input_forget": 0}
    state_names = ("hidden", "cell")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.recurrent = self._recurrent(4)
        with torch.no_grad():
            self.bias[2 * hidden_size : 3 * hidden_size] = 1

    def step(self, projected: Tensor, state: State) -> State:
        """Advance one step."""
        size = self.hidden_size
        sums = projected + nn.functional.linear(state["hidden"], self.recurrent)
        gates, candidate = torch.split(sums, [3 * size, size], -1)
        admit, output, forget = torch.sigmoid(gates).chunk(3, -1)
        cell = forget * state["cell"] + admit * torch.tanh(candidate)
        return {"hidden": output * torch.tanh(cell), "cell": cell}

    def recurrent_weight(self) -> Tensor:
        """Return U_i, U_o, U_f, U_c as (4 H, H)."""
        return self.recurrent


CELLS: dict[CellKind, type[Cell]] = {
    "rnn": RNNCell,
    "gru": GRUCell,
    "gru_reset_after": GRUResetAfterCell,
    "lstm": LSTMCell,
}
