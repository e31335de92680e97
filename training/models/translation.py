"""Recurrent translation, read top to bottom: what a recipe says of it, encoder, decoder. docs/architectures.md has the parts.

As it is by default: Bahdanau et al. 2014 (arXiv:1409.0473) for the bidirectional encoder; Luong et al. 2015
(arXiv:1508.04025) for dot-product attention, the attentional vector and its feeding into the next step; Press and Wolf 2017
for tying the output to the embedding.
"""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from training.models.attention import ATTENTION, KEYS, Attention, AttentionKind, memory_keys
from training.models.base import Decoder, Encoder, Memory, SequenceToSequence, State
from training.models.cells import CELLS, CellKind
from training.models.recurrent import RecurrentStack, UpperCells, state_name
from training.models.self_attention import AttentiveStack
from training.models.words import TextToTextConfig, never_said, word_embedding
from training.vocabulary import BOS


class TranslationModelConfig(TextToTextConfig):
    """The `model` section of a translation recipe.

    Attributes:
        cell: of the encoder and the decoder.
        attention: how a step reads the source; with `none` it knows the first state alone.
        input_feeding: whether a step reads what the last one spoke from, its attentional vector.
        embedding_size: E of both sides; also the width of the readout before the output product, which is tied to the embedding.
        encoder_size: H of each direction.
        encoder_layers: how many layers the encoder has.
        encoder_bidirectional: whether the encoder reads the source from its end too.
        hidden_size: H of the decoder and of memory.
        decoder_layers: how many cells stand on each other in the decoder; the top one's state attends.
        dropout: on embeddings, between layers, on memory and on the attentional vector.
    """

    kind: Literal["translation"]
    cell: CellKind = "gru"
    attention: AttentionKind = "dot"
    input_feeding: bool = True
    embedding_size: int = Field(default=192, ge=1)
    encoder: Literal["recurrent", "attentive"] = "recurrent"
    encoder_size: int = Field(default=256, ge=1)
    encoder_layers: int = Field(default=1, ge=1)
    encoder_bidirectional: bool = True
    encoder_heads: int = Field(default=4, ge=1)
    hidden_size: int = Field(default=256, ge=1)
    decoder_layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _something_to_feed(self) -> Self:
        if self.input_feeding and self.attention == "none":
            raise ValueError(
                "input_feeding true feeds the next step what this one attended to, and attention none attends to nothing; "
                "allowed with it: input_feeding false"
            )
        return self

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.encoder == "attentive" and self.encoder_size % (2 * self.encoder_heads):
            raise ValueError(
                f"encoder_size {self.encoder_size} of an attentive encoder is no multiple of twice encoder_heads, "
                f"{2 * self.encoder_heads}"
            )
        return self

    def reader(self) -> RecurrentStack | AttentiveStack:
        """Make what reads the embedded source."""
        if self.encoder == "attentive":
            return AttentiveStack(
                self.embedding_size, self.encoder_size, self.encoder_layers, self.encoder_heads, self.dropout
            )
        return RecurrentStack(
            self.cell,
            self.embedding_size,
            self.encoder_size,
            self.encoder_layers,
            self.dropout,
            bidirectional=self.encoder_bidirectional,
        )

    def build_for(self, source_size: int, target_size: int) -> SequenceToSequence:
        """Make the model for vocabularies of these sizes."""
        return SequenceToSequence(TranslationEncoder(self, source_size), TranslationDecoder(self, target_size))


class TranslationEncoder(Encoder):
    """Embeds the source, reads it, and projects what it read to the decoder's size."""

    def __init__(self, config: TranslationModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        size = config.hidden_size
        self.config = config
        self.embedding = word_embedding(vocabulary_size, config.embedding_size)
        self.recurrent = config.reader()  # by this name in every checkpoint, attentive ones too
        self.memory = None if config.attention == "none" else nn.Linear(self.recurrent.output_size, size)
        self.initial = nn.Linear(self.recurrent.output_size, config.decoder_layers * size)
        self.keys = memory_keys(config.attention, size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode `source_tokens` (N, S) int64 of `source_lengths` (N,) int64."""
        tokens, lengths = inputs["source_tokens"], inputs["source_lengths"]
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        outputs, last = self.recurrent(self.dropout(self.embedding(tokens)), mask)
        return self._remember(outputs, mask), self._first_state(last)

    def _remember(self, outputs: Tensor, mask: Tensor) -> Memory:
        """Turn the top layer's outputs (N, S, D * H), 0 at padding, into memory; `mask` is (N, S) bool.

        Where nothing attends, memory is one number a position, which nobody reads: it only says how long the sources are.
        """
        if self.memory is None:
            return Memory(mask.unsqueeze(2).to(outputs.dtype), mask, {})
        memory = self.memory(self.dropout(outputs))
        return Memory(memory, mask, {} if self.keys is None else {KEYS: self.keys(memory)})

    def _first_state(self, last: Tensor) -> State:
        """Turn what was read at last (N, D * H) into the state of every layer of the decoder.

        It is the top layer's last states, forward first; of an attentive encoder its mean.
        """
        first = torch.tanh(self.initial(self.dropout(last))).chunk(self.config.decoder_layers, 1)
        state: State = {}
        for layer, hidden in enumerate(first, start=1):
            names = [state_name(name, layer) for name in CELLS[self.config.cell].state_names]
            state |= {names[0]: hidden, **{name: torch.zeros_like(hidden) for name in names[1:]}}
        if self.config.input_feeding:
            state["attentional"] = torch.zeros_like(first[0])
        return state


class TranslationDecoder(Decoder):
    """Recurrent cells fed the last token and the last attentional vector, attention, a narrow readout, a tied output.

    h_t = cells([E y_(t-1); a_(t-1)], h_(t-1));  c_t = attention(h_t);  a_t = tanh(W_a [h_t; c_t])
    logits = E (W_o a_t) + b

    Without input feeding a_(t-1) is not there, without attention c_t is not.
    """

    def __init__(self, config: TranslationModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        size = config.hidden_size
        self.embedding = word_embedding(vocabulary_size, config.embedding_size)
        self.cell = CELLS[config.cell](config.embedding_size, size)
        self.feed = nn.Linear(size, self.cell.gates * size, bias=False) if config.input_feeding else None
        self.upper = UpperCells(config.cell, size, config.decoder_layers, config.dropout)
        self.attention: Attention = ATTENTION[config.attention](size)
        self.attentional = nn.Linear(self.attention.read_size, size)
        self.readout = nn.Linear(size, config.embedding_size)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)
        self.forbidden: Tensor
        self.register_buffer("forbidden", never_said(vocabulary_size), persistent=False)

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token; logits (R, V), the next state, attention (R, S)."""
        projected = self.cell.project(self.dropout(self.embedding(token)))
        attentional, state, attention = self._advance(projected, memory, state)
        return self._score(attentional), state, attention

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score a whole target: as stepping through it, the products with embeddings done for all steps at once."""
        first = torch.full_like(target[:, :1], BOS)
        previous = torch.cat([first, target[:, :-1]], 1)
        projected = self.cell.project(self.dropout(self.embedding(previous)))
        spoken_from = []
        for projected_token in projected.unbind(1):
            attentional, state, _ = self._advance(projected_token, memory, state)
            spoken_from.append(attentional)
        return self._score(torch.stack(spoken_from, 1))

    def _advance(self, projected: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Run the cells and attention for one step.

        Args:
            projected: the embedding's input product (R, gates * H).
            memory: one source a row.
            state: (R, H) each.

        Returns:
            the attentional vector (R, H); the state one step on; the attention (R, S).
        """
        if self.feed is not None:
            projected = projected + self.feed(state["attentional"])
        after = self.cell.step(projected, {name: state[name] for name in self.cell.state_names})
        hidden, above = self.upper(after["hidden"], state)
        read, attention = self.attention(hidden, memory)
        attentional = self.dropout(torch.tanh(self.attentional(read)))
        after |= above
        if self.feed is not None:
            after["attentional"] = attentional
        return attentional, after, attention

    def _score(self, attentional: Tensor) -> Tensor:
        """Return logits (..., V) of attentional vectors (..., H); -inf at `pad` and `bos`."""
        return nn.functional.linear(self.readout(attentional), self.embedding.weight, self.output_bias + self.forbidden)
