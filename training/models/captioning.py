"""Captioning, read top to bottom: what a recipe says, encoders, decoders. Two models, told apart by `attention`.

**Show, Attend and Tell.** Xu et al. 2015 (arXiv:1502.03044), in the lecture's form: soft attention over the cells of the
network's grid. Wired as Lu et al. 2017 (arXiv:1612.01887, figure 2b): the LSTM reads the last word and the image as a
whole, its new state attends, and both speak. Nothing attended is fed back, so that training attends for all words of a
caption at once.

**Show and Tell.** Vinyals et al. 2015 (arXiv:1411.4555), with `attention: none`: the LSTM sees the image once, as if it were
the word before the first.

The output is tied to the embedding (Press and Wolf 2017, arXiv:1608.05859).
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.config import ModelConfig, RecipeError
from training.models.attention import (
    ATTENTION,
    KEYS,
    Attention,
    AttentionKind,
    NoAttention,
    ProductAttention,
    memory_keys,
)
from training.models.base import Encoder, LookingDecoder, Memory, SequenceToSequence, State
from training.models.cells import CELLS, Cell, CellKind
from training.models.image_network import ImageNetwork
from training.models.words import never_said, word_embedding
from training.problems.base import Problem
from training.problems.captioning import CaptioningProblem
from training.vocabulary import BOS, PAD


class CaptioningModelConfig(ModelConfig):
    """The `model` section of a captioning recipe.

    Attributes:
        attention: how the decoder looks at the cells of the image; `none` makes the model Show and Tell.
        embedding_size: E; also the width of the readout before the output product, which is tied to the embedding.
        hidden_size: H of the decoder and of memory.
        dropout: on image features, embeddings, the LSTM's outputs and the attentional vector.
    """

    kind: Literal["captioning"]
    attention: AttentionKind = "dot"
    cell: CellKind = "lstm"
    embedding_size: int = Field(256, ge=1)
    hidden_size: int = Field(512, ge=1)
    dropout: float = Field(0.4, ge=0, lt=1)

    def build(self, problem: Problem) -> SequenceToSequence:
        """Make the model for the problem's vocabulary, the network's weights loaded."""
        if not isinstance(problem, CaptioningProblem):
            raise RecipeError("model.kind: given 'captioning' with a problem that has no images; allowed: captioning")
        return self.around(problem.network.load(), problem.tokenizer.size)

    def around(self, network: ImageNetwork, vocabulary_size: int) -> SequenceToSequence:
        """Make the model that looks through `network`."""
        if self.attention == "none":
            decoder = TellingDecoder(self, vocabulary_size)
            return SequenceToSequence(TellingEncoder(self, network, decoder.cell), decoder)
        return SequenceToSequence(CaptioningEncoder(self, network), CaptioningDecoder(self, vocabulary_size))


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


def mean_of_cells(cells: Tensor) -> Tensor:
    """Return the mean (N, C) of (N, S, C) over S.

    As a product with equal weights, for which ONNX Runtime goes image by image; ReduceMean sums up in another order when there are
    more of them, and 1e-7 is enough to fall on the other side of a rounding to 8 bits.
    """
    size = cells.shape[1]
    return torch.matmul(cells.new_full((1, size), 1 / size), cells).squeeze(1)


class CaptioningEncoder(Encoder):
    """Looks at an image through the network, and projects each of its cells to the decoder's size."""

    def __init__(self, config: CaptioningModelConfig, network: ImageNetwork) -> None:
        super().__init__()
        cell = CELLS[config.cell]
        size = config.hidden_size
        self.network = network
        self.memory = nn.Linear(network.feature_size, size)
        self.initial = nn.Linear(size, len(cell.state_names) * size)
        self.image = nn.Linear(size, cell.gates * size, bias=False)
        self.keys = memory_keys(config.attention, size)
        self.dropout = SharedDropout(config.dropout)
        self.state_names = cell.state_names

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode `image` (N, 224, 224, 3) uint8 RGB, or the `features` (N, S, D) that the network gave for it before.

        The state holds the cell's own tensors, and `image` (N, gates * H): what the image adds to every input product.
        """
        features = features_of(self.network, inputs)
        memory = self.memory(self.dropout(features))  # (N, S, H)
        whole = torch.tanh(mean_of_cells(memory))  # (N, H)
        first = torch.tanh(self.initial(whole)).chunk(len(self.state_names), 1)
        state = dict(zip(self.state_names, first, strict=True))
        extra = {} if self.keys is None else {KEYS: self.keys(memory)}
        return Memory(memory, all_real(features), extra), {**state, "image": self.image(whole)}


class TellingEncoder(Encoder):
    """Looks at an image through the network, and feeds it to the decoder's cell as the word before the first.

    x_(-1) = W_i mean over cells of CNN(I);  h_(-1) = cell(x_(-1), 0). Vinyals et al. 2015, eq. 10.

    The cell is the decoder's own, so that its weights stand in the state dict, and in the exported pair, twice.
    """

    def __init__(self, config: CaptioningModelConfig, network: ImageNetwork, cell: Cell) -> None:
        super().__init__()
        self.network = network
        self.image = nn.Linear(network.feature_size, config.embedding_size)
        self.cell = cell
        self.dropout = SharedDropout(config.dropout)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode `image` (N, 224, 224, 3) uint8 RGB, or the `features` (N, S, D) that the network gave for it before.

        Memory is (N, S, 1) zeros, which nothing reads; the mask says over how many cells attention is even.
        """
        features = features_of(self.network, inputs)
        seen = self.image(mean_of_cells(self.dropout(features)))  # (N, E)
        state = self.cell.step(self.cell.project(seen), self.cell.initial_state(features.shape[0]))
        return Memory(torch.zeros_like(features[:, :, :1]), all_real(features), {}), state


def features_of(network: ImageNetwork, inputs: dict[str, Tensor]) -> Tensor:
    """Return features (N, S, D): those that were given, or the network's of the images."""
    if "features" in inputs:
        return inputs["features"].float()
    features: Tensor = network(inputs["image"])
    return features


def all_real(features: Tensor) -> Tensor:
    """Return the mask (N, S) of features (N, S, D): an image has no padding."""
    return torch.ones_like(features[:, :, 0], dtype=torch.bool)


class WordDecoder(LookingDecoder):
    """What both models share: a cell fed the last word, with `image` of the state beside it if there is one; a tied output."""

    attention: Attention

    def __init__(self, config: CaptioningModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = word_embedding(vocabulary_size, config.embedding_size)
        self.cell = CELLS[config.cell](config.embedding_size, config.hidden_size)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.word_dropout = SharedDropout(config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.forbidden: Tensor
        self.register_buffer("forbidden", never_said(vocabulary_size), persistent=False)

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token; logits (R, V), the next state, attention (R, S)."""
        projected = self.cell.project(self._embed(token))
        if "image" in state:
            projected = projected + state["image"]
        recurrent = self.cell.step(projected, {name: state[name] for name in self.cell.state_names})
        read, attention = self.attention(recurrent["hidden"], memory)
        return self._score(read), {**state, **recurrent}, attention

    def look(self, target: Tensor, memory: Memory, state: State) -> tuple[Tensor, Tensor]:
        """Score a whole target as stepping through it would; logits at padding are 0.

        Captions of one image differ in length by a factor of two, so half of a batch is padding: no product is spent on it.
        """
        previous = nn.functional.pad(target, (1, -1), value=BOS)
        embedded = self.word_dropout(self._embed(previous))
        projected = self.cell.project(embedded)
        if "image" in state:
            projected = projected + state["image"].unsqueeze(1)
        hidden = self.word_dropout(self._run(projected, state, (target != PAD).sum(1)))  # (B, T, H)
        read, attention = read_all(self.attention, hidden, memory)
        real = (target != PAD).flatten().nonzero().squeeze(1)  # (M,)
        scores = self._score(read.flatten(0, 1).index_select(0, real))
        logits = scores.new_zeros(target.numel(), scores.shape[1]).index_copy(0, real, scores)
        return logits.view(*target.shape, -1), attention

    def readout_of(self, read: Tensor) -> Tensor:
        """Return what the output is a product with, (R, E), of what attention gave, (R, read_size)."""
        raise NotImplementedError

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

    def _score(self, read: Tensor) -> Tensor:
        """Return logits (R, V) of what attention gave, (R, read_size); -inf at `pad` and `bos`."""
        bias = self.output_bias + self.forbidden
        return nn.functional.linear(self.readout_of(read), self.embedding.weight, bias)


class CaptioningDecoder(WordDecoder):
    """Show, Attend and Tell: the image beside every word, attention, a narrow readout.

    h_t = cell([E y_(t-1); image], h_(t-1));  c_t = attention(h_t);  a_t = tanh(W_a [h_t; c_t])
    logits = E (W_o a_t) + b
    """

    def __init__(self, config: CaptioningModelConfig, vocabulary_size: int) -> None:
        super().__init__(config, vocabulary_size)
        self.attention = ATTENTION[config.attention](config.hidden_size)
        self.attentional = nn.Linear(self.attention.read_size, config.hidden_size)
        self.readout = nn.Linear(config.hidden_size, config.embedding_size)

    def readout_of(self, read: Tensor) -> Tensor:
        """See WordDecoder."""
        readout: Tensor = self.readout(self.dropout(torch.tanh(self.attentional(read))))
        return readout


class TellingDecoder(WordDecoder):
    """Show and Tell: what the cell remembers is all that is known of the image. Vinyals et al. 2015, eq. 11 and 12.

    h_t = cell(E y_(t-1), h_(t-1));  logits = E (W_o h_t) + b

    Its attention is even over all cells of the image, for the step's contract has one, and means nothing.
    """

    def __init__(self, config: CaptioningModelConfig, vocabulary_size: int) -> None:
        super().__init__(config, vocabulary_size)
        self.attention = NoAttention(config.hidden_size)
        self.readout = nn.Linear(config.hidden_size, config.embedding_size)

    def readout_of(self, read: Tensor) -> Tensor:
        """See WordDecoder."""
        readout: Tensor = self.readout(self.dropout(read))
        return readout


def read_all(attention: Attention, hidden: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Return what `attention` gives for each of T states (B, T, H) that read the same memory: (B, T, read_size), (B, T, S)."""
    if isinstance(attention, ProductAttention):
        context, weights = attend_all(attention.sought(hidden), memory)
        return torch.cat([hidden, context], -1), weights
    steps = [attention(state, memory) for state in hidden.unbind(1)]
    return torch.stack([read for read, _ in steps], 1), torch.stack([weights for _, weights in steps], 1)


def attend_all(sought: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Return what `attend` gives for each of T queries (B, T, H) that read the same memory: (B, T, H), (B, T, S)."""
    cells = memory.memory.to(sought.dtype)
    scores = torch.bmm(sought, cells.transpose(1, 2)).float()
    weights = torch.softmax(scores.masked_fill(~memory.memory_mask.unsqueeze(1), float("-inf")), -1)
    return torch.bmm(weights.to(cells.dtype), cells), weights
