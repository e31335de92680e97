"""The recurrent layers of encoders and decoders, and how they stand on top of each other.

Bidirectional: Schuster and Paliwal 1997, as the annotations of Bahdanau et al. 2014 (arXiv:1409.0473). Dropout between
layers and nowhere along time: Zaremba et al. 2014 (arXiv:1409.2329).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from training.models.base import State
from training.models.cells import CELLS, Cell, CellKind


class RecurrentLayer(nn.Module):
    """Reads each sequence from its first token to its last; a bidirectional one also from its last to its first.

    One ONNX operator runs the same (`forward_cell.onnx_operator` with its `onnx_attributes`, `direction`, sequence_lens =
    lengths): see `onnx_weights`.

    Attributes:
        cells: one a direction, forward first.
        direction: what ONNX calls it.
    """

    def __init__(self, kind: CellKind, input_size: int, hidden_size: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.forward_cell: Cell = CELLS[kind](input_size, hidden_size)
        self.backward_cell: Cell | None = CELLS[kind](input_size, hidden_size) if bidirectional else None
        self.direction: Literal["forward", "bidirectional"] = "bidirectional" if bidirectional else "forward"

    @property
    def cells(self) -> tuple[Cell, ...]:
        """One cell a direction, D of them."""
        return (self.forward_cell,) if self.backward_cell is None else (self.forward_cell, self.backward_cell)

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Run over padded sequences; padding changes no number.

        Args:
            inputs: (B, S, I).
            mask: (B, S) bool, True where real; every sequence starts at position 0.

        Returns:
            (B, S, D * H) the outputs of the D directions, 0 at padding; and (B, D * H) what each direction ended with.
        """
        steps = mask.shape[1]
        # Backwards, a sequence's state stays at its initial zeros through the padding, so it starts at its own end.
        orders = (range(steps), range(steps - 1, -1, -1))
        read = [_run(cell, inputs, mask, order) for cell, order in zip(self.cells, orders, strict=False)]
        outputs = torch.cat([outputs for outputs, _ in read], -1) * mask.unsqueeze(-1)
        return outputs, torch.cat([last for _, last in read], -1)

    def onnx_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return W (D, gates * H, I), R (D, gates * H, H) and B (D, 2 * gates * H) of the ONNX operator, forward first.

        Gates stand in ONNX's order already (GRU z r h, LSTM i o f c); B is the input product's bias, then the recurrent one's.
        """
        inputs = torch.stack([cell.input_weight for cell in self.cells])
        recurrent = torch.stack([cell.recurrent_weight() for cell in self.cells])
        biases = torch.stack([torch.cat([cell.bias, cell.recurrent_bias()]) for cell in self.cells])
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
    """Layers on top of each other, dropout between them.

    Attributes:
        output_size: D * H of the top layer.
    """

    def __init__(
        self,
        kind: CellKind,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        *,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.output_size = hidden_size * (2 if bidirectional else 1)
        sizes = [input_size] + [self.output_size] * (num_layers - 1)
        self.layers = nn.ModuleList(
            [RecurrentLayer(kind, size, hidden_size, bidirectional=bidirectional) for size in sizes]
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the top layer's outputs (B, S, D * H) and last states (B, D * H) for inputs (B, S, I)."""
        outputs, last = inputs, inputs
        for index, layer in enumerate(self.layers):
            outputs, last = layer(self.dropout(outputs) if index else outputs, mask)
        return outputs, last


class UpperCells(nn.Module):
    """The cells of a decoder above its first, dropout below each: one step through all of them.

    Layer 2's state is `hidden_2` (an LSTM's `cell_2` too), layer 3's `hidden_3`, (B, H) float32 each.
    """

    def __init__(self, kind: CellKind, hidden_size: int, num_layers: int, dropout: float) -> None:
        """Make layers 2 to `num_layers`; none where that is 1."""
        super().__init__()
        self.cells = nn.ModuleList([CELLS[kind](hidden_size, hidden_size) for _ in range(num_layers - 1)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, output: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the top layer's output (B, H), given that of layer 1, and the state of these layers one step on."""
        after: State = {}
        for layer, cell in enumerate(self.cells, start=2):
            assert isinstance(cell, Cell)
            here = {name: state[state_name(name, layer)] for name in cell.state_names}
            advanced = cell.step(cell.project(self.dropout(output)), here)
            after |= {state_name(name, layer): tensor for name, tensor in advanced.items()}
            output = advanced["hidden"]
        return output, after


def state_name(name: str, layer: int) -> str:
    """Return what a cell's state is called in a decoder's layer, from 1: the first keeps the cell's own name."""
    return name if layer == 1 else f"{name}_{layer}"
