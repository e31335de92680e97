"""The three models that the pointer network's paper compares, wired as there; pointer.py has the one that is shipped.

Vinyals et al. 2015 (arXiv:1506.03134), section 2. A recurrent encoder reads the points in the order they come in, and a
recurrent decoder names some of them:

- **Sequence-to-sequence**, section 2.1 (`output: vocabulary`, `attention: none`): a softmax over the indices 1 to n of sets
  of one size.
- **Attention**, section 2.2 (`output: vocabulary`, `attention: additive`): the same, but what it speaks from is its state
  and what that state attends to; both go on to the next step.
- **Pointer network**, section 2.3 (`output: pointer`): the attention itself is the output, so that any size will do.

There, the encoder's last state is the decoder's first; here, a layer stands between, and an LSTM's c starts at 0.
"""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from training.config import ModelConfig
from training.models.attention import ATTENTION, KEYS, AdditiveAttention, Attention, AttentionKind, memory_keys
from training.models.base import Decoder, Encoder, Memory, SequenceToSequence, State
from training.models.cells import CELLS, CellKind
from training.models.pointer import full_precision, join_logits, refuse_problems_without_points
from training.models.recurrent import RecurrentStack
from training.models.set_encoder import PointFeatures, normalise_points
from training.problems.base import Problem
from training.vocabulary import BOS, FIRST_POSITION

POINTS = "points"
"""The name in `Memory.extra` of the scaled coordinates (N, S, 2) that a pointer network's decoder reads; ONNX: `memory.points`."""


class PointSequenceConfig(ModelConfig):
    """The `model` section of a recipe for one of the paper's three.

    Attributes:
        output: `pointer`, or `vocabulary`, a fixed one.
        positions: how many indices that vocabulary has; a set's later points cannot be named.
        attention: of `vocabulary`: how a step reads the points; with `none` it knows the first state alone.
        cell: of the encoder and the decoder.
        embedding_size: E of a point, and of what was chosen last.
        hidden_size: H of both.
    """

    kind: Literal["point_sequence"]
    output: Literal["pointer", "vocabulary"] = "pointer"
    positions: int | None = Field(default=None, ge=1)
    attention: AttentionKind = "none"
    cell: CellKind = "lstm"
    embedding_size: int = Field(default=32, ge=1)
    hidden_size: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if self.output == "pointer" and (self.attention != "none" or self.positions is not None):
            raise ValueError(
                "output pointer attends by pointing, to any number of points; allowed: no attention, no positions"
            )
        if self.output == "vocabulary" and self.positions is None:
            raise ValueError(
                "output vocabulary has a fixed number of indices; allowed: positions, the size of the sets"
            )
        return self

    def build(self, problem: Problem) -> SequenceToSequence:
        """Make the model for any pointing problem."""
        refuse_problems_without_points(problem, self.kind)
        return SequenceToSequence(PointSequenceEncoder(self), PointSequenceDecoder(self))


class PointSequenceEncoder(Encoder):
    """Reads the points in their order, ahead.

    Memory: for a pointer network W_1 e_s, which is all that pointing compares with, and the points; otherwise e_s, and
    W_1 e_s as `keys` where the attention is additive; one number a position, which nobody reads, where nothing attends.
    """

    def __init__(self, config: PointSequenceConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.config = config
        self.features = PointFeatures(config.embedding_size)
        self.recurrent = RecurrentStack(config.cell, config.embedding_size, size, 1, 0.0, bidirectional=False)
        self.bridge = nn.Linear(size, size)
        self.keys = memory_keys("additive" if config.output == "pointer" else config.attention, size)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode `points` (N, S, 2) float64 and `point_counts` (N,) int64."""
        scaled, mask = normalise_points(inputs["points"], inputs["point_counts"])
        outputs, last = self.recurrent(self.features(scaled), mask)
        hidden, *others = CELLS[self.config.cell].state_names
        first = torch.tanh(self.bridge(last))
        state = {hidden: first, **{name: torch.zeros_like(first) for name in others}}
        if self.config.attention != "none":
            state["context"] = torch.zeros_like(first)
        return self._remember(outputs, mask, scaled), state

    def _remember(self, outputs: Tensor, mask: Tensor, scaled: Tensor) -> Memory:
        """Return the memory of outputs (N, S, H), mask (N, S) bool and scaled points (N, S, 2)."""
        if self.config.output == "pointer":
            assert self.keys is not None
            return Memory(self.keys(outputs), mask, {POINTS: scaled})
        if self.config.attention == "none":
            return Memory(mask.unsqueeze(2).to(outputs.dtype), mask, {})
        return Memory(outputs, mask, {} if self.keys is None else {KEYS: self.keys(outputs)})


class PointSequenceDecoder(Decoder):
    """Recurrent cells fed what was chosen last, and the context where there is one; then the output of the three.

    h_t = cell([y_(t-1); c_(t-1)], h_(t-1));  c_t = attention(h_t);  p(y_t) = output([h_t; c_t])
    """

    def __init__(self, config: PointSequenceConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.cell = CELLS[config.cell](config.embedding_size, size)
        self.attention: Attention = ATTENTION[config.attention](size)
        self.feed = None if config.attention == "none" else nn.Linear(size, self.cell.gates * size, bias=False)
        self.chosen: ChosenPoint | ChosenIndex
        self.output: PointerOutput | VocabularyOutput
        if config.output == "pointer":
            self.chosen, self.output = ChosenPoint(config.embedding_size), PointerOutput(size)
        else:
            assert config.positions is not None, "the config's validation"
            self.chosen = ChosenIndex(config.positions, config.embedding_size)
            self.output = VocabularyOutput(config.positions, self.attention.read_size)

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token; see Decoder.step. A pointer network's attention is where it points, `eos` left out."""
        projected = self.cell.project(self.chosen(token.unsqueeze(1), memory).squeeze(1))
        read, after, attention = self._advance(projected, memory, state)
        logits = self.output(read.unsqueeze(1), memory).squeeze(1)
        if isinstance(self.output, PointerOutput):
            attention = torch.softmax(logits[:, FIRST_POSITION:], 1)
        return logits, after, attention

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score whole targets; see Decoder.forward. The products at both ends are done for all steps at once."""
        given = torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], 1)  # (B, T)
        reads = []
        for projected in self.cell.project(self.chosen(given, memory)).unbind(1):
            read, state, _ = self._advance(projected, memory, state)
            reads.append(read)
        logits: Tensor = self.output(torch.stack(reads, 1), memory)
        return logits

    def _advance(self, projected: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Run the cell and the attention for one step.

        Args:
            projected: the input product (R, gates * H) of what was chosen last.
            memory: one source a row.
            state: (R, H) each.

        Returns:
            what is spoken from, [h; c] or h; the state one step on; the attention (R, S).
        """
        if self.feed is not None:
            projected = projected + self.feed(state["context"])
        after = self.cell.step(projected, {name: state[name] for name in self.cell.state_names})
        read, attention = self.attention(after["hidden"], memory)
        if self.feed is not None:
            after["context"] = read[:, self.cell.hidden_size :]
        return read, after, attention


class ChosenPoint(nn.Module):
    """What a pointer network reads: the place of the point chosen last, or what stands for a special token."""

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.features = PointFeatures(embedding_size)
        self.special = nn.Parameter(torch.randn(FIRST_POSITION, embedding_size))

    def forward(self, tokens: Tensor, memory: Memory) -> Tensor:
        """Return (R, T, E) for tokens (R, T)."""
        positions = (tokens - FIRST_POSITION).clamp(min=0).unsqueeze(2).expand(-1, -1, 2)
        points = self.features(memory.extra[POINTS].gather(1, positions))
        return torch.where(
            tokens.unsqueeze(2) < FIRST_POSITION, self.special[tokens.clamp(max=FIRST_POSITION - 1)], points
        )


class ChosenIndex(nn.Module):
    """What a model with a fixed vocabulary reads: the embedding of the index chosen last."""

    def __init__(self, positions: int, embedding_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(FIRST_POSITION + positions, embedding_size)

    def forward(self, tokens: Tensor, memory: Memory) -> Tensor:  # noqa: ARG002 - as ChosenPoint
        """Return (R, T, E) for tokens (R, T)."""
        embedded: Tensor = self.embedding(tokens.clamp(max=self.embedding.num_embeddings - 1))
        return embedded


class PointerOutput(nn.Module):
    """Vinyals et al. 2015, eq. 3: u_s = v^T tanh(W_1 e_s + W_2 d), the memory being W_1 e; `eos` has a key of its own."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = AdditiveAttention(hidden_size)
        self.stop = nn.Parameter(torch.randn(hidden_size) * hidden_size**-0.5)

    def forward(self, read: Tensor, memory: Memory) -> Tensor:
        """Return logits (R, T, 3 + S) of what is spoken from, (R, T, H)."""
        keys = torch.cat([self.stop.expand(read.shape[0], 1, -1), memory.memory], 1).unsqueeze(1)  # (R, 1, 1 + S, H)
        with full_precision(read.device.type):
            scores = self.score.scores(read.float(), keys.float())
        stop, points = torch.split(scores, [1, memory.memory.shape[1]], 2)
        return join_logits(stop, points.masked_fill(~memory.memory_mask.unsqueeze(1), -torch.inf))


class VocabularyOutput(nn.Module):
    """A product with a row for `eos` and for each index. Those beyond the set are impossible, as are points beyond the indices."""

    def __init__(self, positions: int, read_size: int) -> None:
        super().__init__()
        self.positions = positions
        self.product = nn.Linear(read_size, 1 + positions)

    def forward(self, read: Tensor, memory: Memory) -> Tensor:
        """Return logits (R, T, 3 + S) of what is spoken from, (R, T, read_size)."""
        stop, indices = torch.split(self.product(read).float(), [1, self.positions], 2)
        place = memory.memory_mask.to(torch.int64).cumsum(1) - 1  # (R, S): 0 to the last real point's, and that again
        named = memory.memory_mask & (place < self.positions)
        within = place.clamp(0, self.positions - 1).unsqueeze(1).expand(-1, read.shape[1], -1)
        return join_logits(stop, indices.gather(2, within).masked_fill(~named.unsqueeze(1), -torch.inf))
