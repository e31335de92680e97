"""Translation by a Transformer whose decoder remembers by simple recurrent units, so that its state is as small as a GRU's.

Vaswani et al. 2017 (arXiv:1706.03762) for the layers, with the norm before each block (Xiong et al. 2020, arXiv:2002.04745);
Kim et al. 2019 (D19-5632, "From Research to Production and Back") for the unit in place of the decoder's
self-attention; Kasai et al. 2021 (arXiv:2006.10369) for more layers before the memory than after it.
"""

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from training.models.base import Decoder, Encoder, Memory, SequenceToSequence, State
from training.models.recurrent import state_name
from training.models.self_attention import AttentiveStack
from training.models.words import TextToTextConfig, never_said, word_embedding
from training.vocabulary import BOS


class TransformerConfig(TextToTextConfig):
    """The `model` section of a translation recipe whose model is a Transformer with a recurrent decoder.

    Attributes:
        hidden_size: H of embeddings, layers, memory and state.
        feed_forward_size: width inside the feed-forward network of each layer.
        num_heads: of the encoder's self-attention and of the decoder's attention; H is a multiple of twice that.
        encoder_layers: how many layers read the source.
        decoder_layers: how many layers speak; each reads a memory of its own.
        dropout: on embeddings and on what every block adds.
    """

    kind: Literal["transformer"]
    hidden_size: int = Field(default=160, ge=2)
    feed_forward_size: int = Field(default=320, ge=1)
    num_heads: int = Field(default=5, ge=1)
    encoder_layers: int = Field(default=5, ge=1)
    decoder_layers: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of twice num_heads, {2 * self.num_heads}")
        return self

    def build_for(self, source_size: int, target_size: int) -> SequenceToSequence:
        """Make the model for vocabularies of these sizes."""
        return SequenceToSequence(TransformerEncoder(self, source_size), TransformerDecoder(self, target_size))


class TransformerEncoder(Encoder):
    """Embeds the source, reads it by self-attention, and projects what it read to the memory of each decoder layer."""

    def __init__(self, config: TransformerConfig, vocabulary_size: int) -> None:
        super().__init__()
        size = config.hidden_size
        self.decoder_layers = config.decoder_layers
        self.embedding = word_embedding(vocabulary_size, size)
        self.stack = AttentiveStack(
            size,
            size,
            config.encoder_layers,
            config.num_heads,
            config.dropout,
            feed_forward_size=config.feed_forward_size,
        )
        self.memory = nn.Linear(size, config.decoder_layers * size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode `source_tokens` (N, S) int64 of `source_lengths` (N,) int64; the units of the decoder begin at 0."""
        tokens, lengths = inputs["source_tokens"], inputs["source_lengths"]
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        outputs, mean = self.stack(self.dropout(self.embedding(tokens)), mask)
        first, *rest = self.memory(outputs).chunk(self.decoder_layers, 2)
        state = {state_name("cell", layer): torch.zeros_like(mean) for layer in range(1, self.decoder_layers + 1)}
        return Memory(first, mask, {_memory_name(layer): memory for layer, memory in enumerate(rest, start=2)}), state


class TransformerDecoder(Decoder):
    """Layers of a recurrent unit, attention and a feed-forward network; the output product is tied to the embedding.

    x = sqrt(H) E y_(t-1);   x = layers(x);   logits = E norm(x) + b
    """

    def __init__(self, config: TransformerConfig, vocabulary_size: int) -> None:
        super().__init__()
        size = config.hidden_size
        self.embedding = word_embedding(vocabulary_size, size)
        self.scale = math.sqrt(size)
        self.layers = nn.ModuleList([DecoderLayer(config) for _ in range(config.decoder_layers)])
        self.norm = nn.LayerNorm(size)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)
        self.forbidden: Tensor
        self.register_buffer("forbidden", never_said(vocabulary_size), persistent=False)

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token; logits (R, V), the next state, the top layer's attention (R, S), its heads' mean."""
        return self._advance(token, memory, state)

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score a whole target: as stepping through it, all products done for all steps at once."""
        first = torch.full_like(target[:, :1], BOS)
        return self._advance(torch.cat([first, target[:, :-1]], 1), memory, state)[0]

    def _advance(self, tokens: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Take T tokens a row (R, T); logits (R, T, V), the state after the last of them, attention (R, T, S).

        Or one token a row (R,): logits (R, V), attention (R, S); here and in all that follows the step's graph has no axis of time.
        """
        x = self.dropout(self.embedding(tokens) * self.scale)
        after: State = {}
        attention = x
        for number, layer in enumerate(self.layers, start=1):
            name = state_name("cell", number)
            read = memory.memory if number == 1 else memory.extra[_memory_name(number)]
            x, after[name], attention = layer(x, state[name], read, memory.memory_mask)
        logits = nn.functional.linear(self.norm(x), self.embedding.weight, self.output_bias + self.forbidden)
        return logits, after, attention


class DecoderLayer(nn.Module):
    """A simple recurrent unit, attention to the source, a feed-forward network; each adds to what came in."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.before_unit = nn.LayerNorm(size)
        self.unit = SimpleRecurrentUnit(size)
        self.before_attention = nn.LayerNorm(size)
        self.attention = HeadsOfMemory(size, config.num_heads)
        self.before_feed_forward = nn.LayerNorm(size)
        self.widen = nn.Linear(size, config.feed_forward_size)
        self.narrow = nn.Linear(config.feed_forward_size, size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cell: Tensor, memory: Tensor, memory_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (R, T, H), the last cell (R, H) and the attention (R, T, S), for x (R, T, H) and memory (R, S, H).

        For one step's x, (R, H): (R, H), the cell and (R, S).
        """
        remembered, cell = self.unit(self.before_unit(x), cell)
        x = x + self.dropout(remembered)
        context, attention = self.attention(self.before_attention(x), memory, memory_mask)
        x = x + self.dropout(context)
        x = x + self.dropout(self.narrow(torch.relu(self.widen(self.before_feed_forward(x)))))
        return x, cell, attention


class SimpleRecurrentUnit(nn.Module):
    """The simpler simple recurrent unit of Kim et al. 2019: no product with the state, so that all steps' products are one.

    f_t = s(W_f x_t + b_f);   c_t = f_t * c_(t-1) + (1 - f_t) * (W x_t + b);   o_t = relu(c_t)
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.input = nn.Linear(size, 2 * size)  # candidate, forget gate
        nn.init.constant_(self.input.bias[size:], 1.0)  # to remember at first (Jozefowicz et al. 2015)

    def forward(self, x: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs, as x is, and the last cell (R, H), for x (R, T, H) or one step (R, H) and the cell before (R, H)."""
        candidate, forget = self.input(x).chunk(2, -1)
        forget = torch.sigmoid(forget)
        if x.dim() == cell.dim():
            cell = candidate + forget * (cell - candidate)  # one node less in the step's graph
            return torch.relu(cell), cell
        new = (1 - forget) * candidate
        cells = []
        for kept, added in zip(forget.unbind(1), new.unbind(1), strict=True):
            cell = kept * cell + added
            cells.append(cell)
        return torch.relu(torch.stack(cells, 1)), cell


class HeadsOfMemory(nn.Module):
    """Attention by dot product in several heads, each of which compares and reads its own columns of memory.

    weights^k = softmax over real positions of q^k m_s^k / sqrt(H / K);   c = W_o [sum of weights^1_s m_s^1; ..] + b_o

    Keys and values are the same: the encoder projects them once a source. A head's query is as wide as memory and 0 outside its
    columns, so that nothing of memory is moved.
    """

    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(size, size)
        self.mix = nn.Linear(size, size)
        self.scale = (size // num_heads) ** -0.5
        self.columns: Tensor
        self.register_buffer("columns", torch.eye(num_heads).repeat_interleave(size // num_heads, 1), persistent=False)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what was read, as x is, and the mean of the heads' weights (R, T, S), for x (R, T, H) and memory (R, S, H).

        For one step's x, (R, H), the weights are (R, S).
        """
        heads = len(self.columns)
        queries = self.query(x).unsqueeze(-2) * (self.columns * self.scale)
        if x.dim() == memory.dim():  # the heads of all steps side by side: (R, T * heads, H)
            queries = queries.flatten(1, 2)
        scores = queries @ memory.transpose(1, 2)
        weights = torch.softmax(scores.float().masked_fill(~memory_mask.unsqueeze(1), float("-inf")), -1)
        context = weights.to(memory.dtype) @ memory
        if x.dim() == memory.dim():
            context, weights = (tensor.view(*x.shape[:2], heads, -1) for tensor in (context, weights))
        return self.mix((context * self.columns).sum(-2)), weights.mean(-2)


def _memory_name(layer: int) -> str:
    """Return the name in `Memory.extra` of what a decoder layer reads, from the second on; ONNX: `memory.layer_<n>`."""
    return f"layer_{layer}"
