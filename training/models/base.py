"""What every model is: an encoder run once for a source, and a decoder that steps; both exported as they are."""

from dataclasses import dataclass

from torch import Tensor, nn

State = dict[str, Tensor]
"""Named recurrent tensors, rows on axis 0; the ONNX graphs prefix the names with `state.`."""


@dataclass(frozen=True)
class Memory:
    """What attention reads of N sources.

    Attributes:
        memory: (N, S, H) float32.
        memory_mask: (N, S) bool, True where a position is real.
        extra: further tensors (N, S, ...) by name, exported as `memory.<name>`, such as attention keys computed once.
    """

    memory: Tensor
    memory_mask: Tensor
    extra: dict[str, Tensor]

    def take(self, source: Tensor) -> "Memory":
        """Return the memory that each of R rows reads; `source` is (R,) int64."""
        extra = {name: tensor[source] for name, tensor in self.extra.items()}
        return Memory(self.memory[source], self.memory_mask[source], extra)


class Encoder(nn.Module):
    """Turns the task's inputs into memory and the decoder's first state."""

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode N padded sources; padding never changes a source's numbers."""
        raise NotImplementedError


class Decoder(nn.Module):
    """Takes one token a row and scores the next."""

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token.

        Args:
            token: (R,) int64, `bos` at first.
            memory: already gathered, one source a row.
            state: (R, ...) each.

        Returns:
            logits (R, V) with -inf at `pad`, `bos` and padded positions; the state one step on; attention (R, S), rows sum to 1.
        """
        raise NotImplementedError

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score a whole target, each token given those before it; what training runs.

        Args:
            target: (B, T) int64, tokens then `eos`, padded.
            memory: already gathered, one source a target.
            state: (B, ...) each.

        Returns:
            logits (B, T, V), what T calls of `step` give; at padding any finite numbers.
        """
        raise NotImplementedError


class LookingDecoder(Decoder):
    """One that says, of a whole target too, where it looked."""

    def look(self, target: Tensor, memory: Memory, state: State) -> tuple[Tensor, Tensor]:
        """Score a whole target as `forward` does.

        Returns:
            logits (B, T, V), and attention (B, T, S) as T calls of `step` give it; at padding any finite numbers.
        """
        raise NotImplementedError

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score a whole target, each token given those before it."""
        return self.look(target, memory, state)[0]


class SequenceToSequence(nn.Module):
    """An encoder and a decoder trained together."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, inputs: dict[str, Tensor], source: Tensor, target: Tensor) -> Tensor:
        """Return logits (B, T, V) for `target` (B, T) of the sources that `source` (B,) names."""
        logits: Tensor = self.decoder(target, *self.read(inputs, source))
        return logits

    def read(self, inputs: dict[str, Tensor], source: Tensor) -> tuple[Memory, State]:
        """Return the memory and the first state of each of B rows, whose sources `source` (B,) names."""
        memory, state = self.encoder(inputs)
        return memory.take(source), {name: tensor[source] for name, tensor in state.items()}
