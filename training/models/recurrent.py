"""The bidirectional recurrent encoder. Schuster and Paliwal 1997; as the annotations of Bahdanau et al. 2014."""

import torch
from torch import Tensor, nn

from training.models.base import State
from training.models.cells import CELLS, Cell, CellKind


class BidirectionalLayer(nn.Module):
    """Reads each sequence from its first token to its last, and from its last to its first.

    One ONNX operator runs the same (`forward_cell.onnx_operator`, direction "bidirectional", sequence_lens = lengths): see
    `onnx_weights`.
    """

    def __init__(self, kind: CellKind, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.forward_cell: Cell = CELLS[kind](input_size, hidden_size)
        self.backward_cell: Cell = CELLS[kind](input_size, hidden_size)

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Run over padded sequences; padding changes no number.

        Args:
            inputs: (B, S, I).
            mask: (B, S) bool, True where real; every sequence starts at position 0.

        Returns:
            (B, S, 2H) the outputs of both directions, 0 at padding; and (B, 2H) what each direction ended with.
        """
        steps = mask.shape[1]
        ahead, ahead_last = _run(self.forward_cell, inputs, mask, range(steps))
        # Backwards, a sequence's state stays at its initial zeros through the padding, so it starts at its own end.
        back, back_last = _run(self.backward_cell, inputs, mask, range(steps - 1, -1, -1))
        outputs = torch.cat([ahead, back], -1) * mask.unsqueeze(-1)
        return outputs, torch.cat([ahead_last, back_last], -1)

    def onnx_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return W (2, gates * H, I), R (2, gates * H, H) and B (2, 2 * gates * H) of the ONNX operator, forward first.

        Gates stand in ONNX's order already (GRU z r h, LSTM i o f c); the recurrent half of B is 0. GRU: linear_before_reset = 0.
        """
        cells = (self.forward_cell, self.backward_cell)
        inputs = torch.stack([cell.input_weight for cell in cells])
        recurrent = torch.stack([cell.recurrent_weight() for cell in cells])
        biases = torch.stack([torch.cat([cell.bias, torch.zeros_like(cell.bias)]) for cell in cells])
        return inputs.detach(), recurrent.detach(), biases.detach()


def _run(cell: Cell, inputs: Tensor, mask: Tensor, order: range) -> tuple[Tensor, Tensor]:
    """Step a cell through the positions in `order`, holding the state at padding; outputs (B, S, H) and the last (B, H)."""
    projected = cell.project(inputs).unbind(1)
    real = mask.unsqueeze(-1).unbind(1)
    whole = mask.all(0).tolist()  # where no sequence is padded there is nothing to hold
    state: State = cell.initial_state(len(inputs))
    outputs: list[Tensor] = [inputs] * len(order)
    for position in order:
        advanced = cell.step(projected[position], state)
        if not whole[position]:
            advanced = {name: torch.where(real[position], advanced[name], state[name]) for name in advanced}
        state = advanced
        outputs[position] = state["hidden"]
    return torch.stack(outputs, 1), state["hidden"]


class RecurrentStack(nn.Module):
    """Bidirectional layers on top of each other, dropout between them."""

    def __init__(self, kind: CellKind, input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        sizes = [input_size] + [2 * hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList([BidirectionalLayer(kind, size, hidden_size) for size in sizes])
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the top layer's outputs (B, S, 2H) and last states (B, 2H) for inputs (B, S, I)."""
        outputs, last = inputs, inputs
        for index, layer in enumerate(self.layers):
            outputs, last = layer(self.dropout(outputs) if index else outputs, mask)
        return outputs, last
