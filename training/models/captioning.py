"""Attentive captioning, read top to bottom: encoder, decoder, and what a recipe says of them.

Xu et al. 2015, "Show, Attend and Tell" (arXiv:1502.03044), in the lecture's form: soft attention by dot products over
the 49 cells of a frozen MobileNetV2. Wired as Lu et al. 2017 (arXiv:1612.01887, figure 2b): the LSTM reads the last word
and the image as a whole, its new state attends, and both speak. Nothing attended is fed back, so that training attends
for all words of a caption at once.
The output is tied to the embedding (Press and Wolf 2017, arXiv:1608.05859).
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
from training.models.mobilenet import FEATURE_SIZE, MobileNetV2, load_weights
from training.problems.base import Problem
from training.problems.captioning import CaptioningProblem
from training.vocabulary import BOS, PAD


class CaptioningModelConfig(ModelConfig):
    """The `model` section of a captioning recipe.

    Attributes:
        embedding_size: E; also the width of the readout before the output product, which is tied to the embedding.
        hidden_size: H of the decoder and of memory.
        dropout: on image features, embeddings, the LSTM's outputs and the attentional vector.
    """

    kind: Literal["captioning"]
    cell: CellKind = "lstm"
    embedding_size: int = Field(256, ge=1)
    hidden_size: int = Field(512, ge=1)
    dropout: float = Field(0.4, ge=0, lt=1)

    def build(self, problem: Problem) -> SequenceToSequence:
        """Make the model for the problem's vocabulary, the network's weights loaded."""
        if not isinstance(problem, CaptioningProblem):
            raise RecipeError("model.kind: given 'captioning' with a problem that has no images; allowed: captioning")
        encoder = CaptioningEncoder(self)
        load_weights(encoder.network, problem.network_weights)
        return SequenceToSequence(encoder, CaptioningDecoder(self, problem.tokenizer.size))


class SharedDropout(nn.Module):
    """Dropout with one mask for all positions of a sequence. Gal and Ghahramani 2016, arXiv:1512.05287."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop whole columns of (B, S, H)."""
        if not self.training or self.rate == 0:
            return inputs
        mask = torch.empty_like(inputs[:, :1]).bernoulli_(1 - self.rate)
        return inputs * (mask / (1 - self.rate))


class CaptioningEncoder(Encoder):
    """Looks at an image through the frozen network, and projects each of its cells to the decoder's size."""

    def __init__(self, config: CaptioningModelConfig) -> None:
        super().__init__()
        cell = CELLS[config.cell]
        size = config.hidden_size
        self.network = MobileNetV2()
        self.memory = nn.Linear(FEATURE_SIZE, size)
        self.initial = nn.Linear(size, len(cell.state_names) * size)
        self.image = nn.Linear(size, cell.gates * size, bias=False)
        self.dropout = SharedDropout(config.dropout)
        self.state_names = cell.state_names

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode `image` (N, 224, 224, 3) uint8 RGB, or the `features` (N, 49, 1280) that the network gave for it before.

        The state holds the cell's own tensors, and `image` (N, gates * H): what the image adds to every input product.
        """
        features = inputs["features"].float() if "features" in inputs else self.network(inputs["image"])
        memory = self.memory(self.dropout(features))  # (N, 49, H)
        mask = torch.ones_like(features[:, :, 0], dtype=torch.bool)
        whole = torch.tanh(memory.mean(1))  # (N, H)
        first = torch.tanh(self.initial(whole)).chunk(len(self.state_names), 1)
        state = dict(zip(self.state_names, first, strict=True))
        return Memory(memory, mask, {}), {**state, "image": self.image(whole)}


class CaptioningDecoder(Decoder):
    """A recurrent cell fed the last word and the image, attention, a narrow readout, a tied output.

    h_t = cell([E y_(t-1); image], h_(t-1));  c_t = attention(h_t);  a_t = tanh(W_a [h_t; c_t])
    logits = E (W_o a_t) + b
    """

    def __init__(self, config: CaptioningModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, config.embedding_size)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(config.embedding_size))
        self.cell = CELLS[config.cell](config.embedding_size, config.hidden_size)
        self.attentional = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.readout = nn.Linear(config.hidden_size, config.embedding_size)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.word_dropout = SharedDropout(config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        forbidden = torch.zeros(vocabulary_size)
        forbidden[[PAD, BOS]] = float("-inf")
        self.forbidden: Tensor
        self.register_buffer("forbidden", forbidden, persistent=False)

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token; logits (R, V), the next state, attention (R, S)."""
        projected = self.cell.project(self._embed(token)) + state["image"]
        recurrent = self.cell.step(projected, {name: state[name] for name in self.cell.state_names})
        context, attention = attend(recurrent["hidden"], memory.memory, memory.memory_mask)
        return self._score(recurrent["hidden"], context), {**recurrent, "image": state["image"]}, attention

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score a whole target as stepping through it would; logits at padding are 0.

        Captions of one image differ in length by a factor of two, so half of a batch is padding: no product is spent on it.
        """
        previous = nn.functional.pad(target, (1, -1), value=BOS)
        embedded = self.word_dropout(self._embed(previous))
        projected = self.cell.project(embedded) + state["image"].unsqueeze(1)
        hidden = self.word_dropout(self._run(projected, state, (target != PAD).sum(1)))  # (B, T, H)
        context = attend_all(hidden, memory)
        real = (target != PAD).flatten().nonzero().squeeze(1)  # (M,)
        scores = self._score(*(tensor.flatten(0, 1).index_select(0, real) for tensor in (hidden, context)))
        logits = scores.new_zeros(target.numel(), scores.shape[1]).index_copy(0, real, scores)
        return logits.view(*target.shape, -1)

    def _embed(self, token: Tensor) -> Tensor:
        """Return embeddings (..., E), scaled up: tied to the output they are small. Vaswani et al. 2017, section 3.4."""
        embedded: Tensor = self.embedding(token)
        return embedded * math.sqrt(self.embedding.embedding_dim)

    def _run(self, projected: Tensor, state: State, lengths: Tensor) -> Tensor:
        """Return the cell's outputs (B, T, H), 0 after a caption's end; `projected` (B, T, gates * H)."""
        steps = torch.arange(projected.shape[1], device=projected.device)
        order = lengths.argsort(descending=True, stable=True)  # those that run on are always the first rows
        running = (lengths.unsqueeze(0) > steps.unsqueeze(1)).sum(1).tolist()
        recurrent = {name: state[name][order] for name in self.cell.state_names}
        outputs = []
        for count, token in zip(running, projected[order].unbind(1), strict=True):
            recurrent = {name: tensor[:count] for name, tensor in recurrent.items()}
            recurrent = self.cell.step(token[:count], recurrent)
            outputs.append(nn.functional.pad(recurrent["hidden"], (0, 0, 0, len(order) - count)))
        return torch.stack(outputs, 1)[order.argsort()]

    def _score(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Return logits (R, V) of the cell's outputs and what they attended to, (R, H) each; -inf at `pad` and `bos`."""
        attentional = self.dropout(torch.tanh(self.attentional(torch.cat([hidden, context], -1))))
        bias = self.output_bias + self.forbidden
        return nn.functional.linear(self.readout(attentional), self.embedding.weight, bias)


def attend_all(hidden: Tensor, memory: Memory) -> Tensor:
    """Return what `attend` gives for each of T states (B, T, H) that read the same memory: (B, T, H)."""
    cells = memory.memory.to(hidden.dtype)
    scores = torch.bmm(hidden, cells.transpose(1, 2)).float()
    weights = torch.softmax(scores.masked_fill(~memory.memory_mask.unsqueeze(1), float("-inf")), -1)
    return torch.bmm(weights.to(cells.dtype), cells)
