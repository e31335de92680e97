"""Attentive recurrent translation, read top to bottom: encoder, decoder, and what a recipe says of them.

Bahdanau et al. 2014 (arXiv:1409.0473) for the bidirectional encoder; Luong et al. 2015 (arXiv:1508.04025) for dot-product
attention, the attentional vector and its feeding into the next step; Press and Wolf 2017 for tying the output to the embedding.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.config import ModelConfig, RecipeError
from training.models.attention import attend
from training.models.base import Decoder, Encoder, Memory, SequenceToSequence, State
from training.models.cells import CELLS, CellKind
from training.models.recurrent import RecurrentStack
from training.problems.base import Problem
from training.problems.translation import TranslationProblem
from training.vocabulary import BOS, PAD


class TranslationModelConfig(ModelConfig):
    """The `model` section of a translation recipe.

    Attributes:
        embedding_size: E of both sides; also the width of the readout before the output product, which is tied to the embedding.
        encoder_size: H of each direction.
        hidden_size: H of the decoder and of memory.
        dropout: on embeddings, between encoder layers, on memory and on the attentional vector.
    """

    kind: Literal["translation"]
    cell: CellKind = "gru"
    embedding_size: int = Field(default=192, ge=1)
    encoder_size: int = Field(default=256, ge=1)
    encoder_layers: int = Field(default=1, ge=1)
    hidden_size: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)

    def build(self, problem: Problem) -> SequenceToSequence:
        """Make the model for the problem's vocabularies."""
        if not isinstance(problem, TranslationProblem):
            raise RecipeError(
                "model.kind: given 'translation' with a problem that is not text to text; allowed: translation, reverse"
            )
        tokenizers = problem.tokenizers
        return SequenceToSequence(
            TranslationEncoder(self, tokenizers.source.size), TranslationDecoder(self, tokenizers.target.size)
        )


class TranslationEncoder(Encoder):
    """Embeds the source, reads it both ways, and projects what it read to the decoder's size."""

    def __init__(self, config: TranslationModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = _embedding(vocabulary_size, config.embedding_size)
        self.recurrent = RecurrentStack(
            config.cell, config.embedding_size, config.encoder_size, config.encoder_layers, config.dropout
        )
        self.memory = nn.Linear(2 * config.encoder_size, config.hidden_size)
        self.initial = nn.Linear(2 * config.encoder_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.state_names = CELLS[config.cell].state_names

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode `source_tokens` (N, S) int64 of `source_lengths` (N,) int64."""
        tokens, lengths = inputs["source_tokens"], inputs["source_lengths"]
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        outputs, last = self.recurrent(self.dropout(self.embedding(tokens)), mask)
        return self.remember(outputs, last, mask)

    def remember(self, outputs: Tensor, last: Tensor, mask: Tensor) -> tuple[Memory, State]:
        """Turn what the recurrent layers gave into memory and the decoder's first state.

        Args:
            outputs: (N, S, 2H) of the top layer, 0 at padding.
            last: (N, 2H), the top layer's last states, forward first.
            mask: (N, S) bool.
        """
        memory = self.memory(self.dropout(outputs))
        hidden = torch.tanh(self.initial(self.dropout(last)))
        state = {name: torch.zeros_like(hidden) for name in self.state_names[1:]}
        return Memory(memory, mask, {}), {"hidden": hidden, **state, "attentional": torch.zeros_like(hidden)}


class TranslationDecoder(Decoder):
    """A recurrent cell fed the last token and the last attentional vector, attention, a narrow readout, a tied output.

    h_t = cell([E y_(t-1); a_(t-1)], h_(t-1));  c_t = attention(h_t);  a_t = tanh(W_a [h_t; c_t])
    logits = E (W_o a_t) + b
    """

    def __init__(self, config: TranslationModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = _embedding(vocabulary_size, config.embedding_size)
        self.cell = CELLS[config.cell](config.embedding_size, config.hidden_size)
        self.feed = nn.Linear(config.hidden_size, self.cell.gates * config.hidden_size, bias=False)
        self.attentional = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.readout = nn.Linear(config.hidden_size, config.embedding_size)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)
        forbidden = torch.zeros(vocabulary_size)
        forbidden[[PAD, BOS]] = float("-inf")
        self.forbidden: Tensor
        self.register_buffer("forbidden", forbidden, persistent=False)

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token; logits (R, V), the next state, attention (R, S)."""
        projected = self.cell.project(self.dropout(self.embedding(token)))
        state, attention = self._advance(projected, memory, state)
        return self._score(state["attentional"]), state, attention

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score a whole target: as stepping through it, the products with embeddings done for all steps at once."""
        first = torch.full_like(target[:, :1], BOS)
        previous = torch.cat([first, target[:, :-1]], 1)
        projected = self.cell.project(self.dropout(self.embedding(previous)))
        attentional = []
        for projected_token in projected.unbind(1):
            state, _ = self._advance(projected_token, memory, state)
            attentional.append(state["attentional"])
        return self._score(torch.stack(attentional, 1))

    def _advance(self, projected: Tensor, memory: Memory, state: State) -> tuple[State, Tensor]:
        """Run the cell and attention for one step; `projected` is the embedding's input product (R, gates * H)."""
        recurrent = {name: state[name] for name in self.cell.state_names}
        recurrent = self.cell.step(projected + self.feed(state["attentional"]), recurrent)
        context, attention = attend(recurrent["hidden"], memory.memory, memory.memory_mask)
        both = torch.cat([recurrent["hidden"], context], -1)
        attentional = self.dropout(torch.tanh(self.attentional(both)))
        return {**recurrent, "attentional": attentional}, attention

    def _score(self, attentional: Tensor) -> Tensor:
        """Return logits (..., V) of attentional vectors (..., H); -inf at `pad` and `bos`."""
        return nn.functional.linear(self.readout(attentional), self.embedding.weight, self.output_bias + self.forbidden)


def _embedding(vocabulary_size: int, size: int) -> nn.Embedding:
    """Return an embedding of unit-length rows in the mean, small enough to be tied to an output."""
    embedding = nn.Embedding(vocabulary_size, size)
    nn.init.normal_(embedding.weight, std=1 / math.sqrt(size))
    return embedding
