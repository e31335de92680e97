"""A pointer network: a GRU that points at the source's own positions (Vinyals et al. 2015, arXiv:1506.03134).

The decoder of Vinyals et al. with one glimpse (Bello et al. 2016, arXiv:1611.09940, appendix A.1) over an encoder that no
order of the points can change. What the GRU reads at a step is known before it runs (the points chosen so far), so
training runs only the GRU's recurrence step by step; glimpse and pointer take all T steps of a target at once.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.config import ModelConfig, RecipeError
from training.models.base import Decoder, Encoder, Memory, SequenceToSequence, State
from training.models.cells import GRUCell
from training.models.recurrent_points import RecurrentPoints, RecurrentPointsConfig
from training.models.self_attention import HIDDEN
from training.models.set_encoder import SetEncoder, SetEncoderConfig
from training.problems.base import Problem
from training.problems.points import FreshPointSets
from training.problems.tour import TourProblem
from training.vocabulary import BOS, EOS, FIRST_POSITION, PAD

LOGIT_RANGE = 10.0
"""Logits are 10 * tanh(.), Bello et al. 2016, eq. 16: early mistakes stay correctable."""


def full_precision(device: str) -> AbstractContextManager[object]:
    """Return a context that suspends a device's autocast, where it is on: eight bits would blur close logits."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class PointerConfig(ModelConfig):
    """A pointer network.

    Attributes:
        encoder: `set`, which no order of the points can change, or `recurrent`, the paper's.
        recent: how many of the last tokens each step reads; a triangle and the two points of the next need 5.
        period: steps are counted modulo this, so that a triangle's first, second and third point differ.
        remembered: how many of the last tokens cannot be chosen again; 0 where an answer may repeat a point.
    """

    kind: Literal["pointer"] = "pointer"
    encoder: SetEncoderConfig | RecurrentPointsConfig = Field(default=SetEncoderConfig(), discriminator="kind")
    num_heads: int = Field(default=4, ge=1)
    recent: int = Field(default=1, ge=1)
    period: int = Field(default=1, ge=1)
    remembered: int = Field(default=0, ge=0)

    def build(self, problem: Problem) -> SequenceToSequence:
        """Make the model; any pointing problem will do, for the vocabulary is the source."""
        refuse_problems_without_points(problem, self.kind)
        return SequenceToSequence(PointerEncoder(self), PointerDecoder(self))


def refuse_problems_without_points(problem: Problem, kind: str) -> None:
    """Raise RecipeError where a model of this kind has nothing to point at."""
    if not isinstance(problem, FreshPointSets | TourProblem):
        raise RecipeError(
            f"model.kind: given {kind!r} with a problem that has no points; allowed: hull, delaunay, tour"
        )


class PointerEncoder(Encoder):
    """Encodes a point set and lays out the decoder's first state.

    The state, one row a source: `hidden` (N, H) float32; `steps` (N,), how many were taken; `first` (N,), the first point
    chosen; `recent` (N, recent), the last tokens, newest last; `chosen` (N, remembered), where there is a memory of what
    was chosen. All but `hidden` are int64, tokens, `pad` where nothing stands yet.
    """

    def __init__(self, config: PointerConfig) -> None:
        super().__init__()
        self.config = config
        self.points = _points_encoder(config.encoder)
        self.bridge = nn.Linear(config.encoder.hidden_size, config.encoder.hidden_size)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        """Encode `points` (N, S, 2) float64 and `point_counts` (N,) int64."""
        counts = inputs["point_counts"]
        memory, summary = self.points(inputs["points"], counts)
        nothing = torch.full_like(counts, PAD)
        state = {
            "hidden": torch.tanh(self.bridge(summary)).to(memory.memory.dtype),
            "steps": torch.zeros_like(counts),
            "first": nothing,
            "recent": nothing.unsqueeze(1).repeat(1, self.config.recent),
        }
        if self.config.remembered:
            state["chosen"] = nothing.unsqueeze(1).repeat(1, self.config.remembered)
        return memory, state


def _points_encoder(config: SetEncoderConfig | RecurrentPointsConfig) -> SetEncoder | RecurrentPoints:
    if isinstance(config, RecurrentPointsConfig):
        return RecurrentPoints(config)
    return SetEncoder(config)


class PointerDecoder(Decoder):
    """Points: token 3 + i is the source's point i."""

    def __init__(self, config: PointerConfig) -> None:
        super().__init__()
        size = config.encoder.hidden_size
        self.config = config
        self.special = nn.Parameter(torch.randn(FIRST_POSITION, size))  # what pad (nothing yet), bos and eos look like
        self.phase = nn.Embedding(config.period, size)
        self.merge = nn.Linear((config.recent + 1) * size, size)
        self.cell = GRUCell(size, size)
        self.glimpse = Glimpse(size, config.num_heads)
        self.pointer = Pointer(size)

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        """Advance R rows by one token; see Decoder.step."""
        steps = state["steps"]
        first = torch.where(steps == 1, token, state["first"])
        recent = torch.cat([state["recent"], token.unsqueeze(1)], 1)[:, 1:]
        read = self._read(recent.unsqueeze(1), first.unsqueeze(1), steps.unsqueeze(1), memory)  # (R, 1, H)
        hidden = self.cell.step(self.cell.project(read.squeeze(1)), {"hidden": state["hidden"]})["hidden"]
        after: State = {"hidden": hidden, "steps": steps + 1, "first": first, "recent": recent}
        taken = None
        if self.config.remembered:
            after["chosen"] = torch.cat([state["chosen"], token.unsqueeze(1)], 1)[:, 1:]
            width = FIRST_POSITION + memory.memory.shape[1]
            blank = torch.zeros_like(token).unsqueeze(1).repeat(1, width)
            taken = blank.scatter(1, after["chosen"], 1)[:, FIRST_POSITION:].unsqueeze(1) > 0  # (R, 1, S)
        logits, attention = self._point(hidden.unsqueeze(1), memory, taken)
        return logits.squeeze(1), after, attention.squeeze(1)

    def forward(self, target: Tensor, memory: Memory, state: State) -> Tensor:
        """Score whole targets; see Decoder.forward. The same numbers as stepping through them."""
        length = target.shape[1]
        given = torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], 1)  # (B, T)
        before = torch.full_like(target[:, :1], PAD)
        first = torch.cat([before, target[:, :1].expand(-1, length - 1)], 1)
        steps = torch.arange(length, device=target.device).expand_as(target)
        padded = torch.cat([before.expand(-1, self.config.recent - 1), given], 1)
        recent = padded.unfold(1, self.config.recent, 1)  # (B, T, recent)
        read = self._read(recent, first, steps, memory)
        hidden = self._run_cell(read, state["hidden"])
        taken = self._taken(given, memory.memory.shape[1]) if self.config.remembered else None
        return self._point(hidden, memory, taken)[0]

    def _run_cell(self, read: Tensor, hidden: Tensor) -> Tensor:
        """Return the GRU's states (B, T, H) over read (B, T, H)."""
        outputs = []
        for projected in self.cell.project(read).unbind(1):
            hidden = self.cell.step(projected, {"hidden": hidden})["hidden"]
            outputs.append(hidden)
        return torch.stack(outputs, 1)

    def _taken(self, given: Tensor, positions: int) -> Tensor:
        """Return (B, T, S), True where a position is among the last `remembered` tokens given."""
        counts = nn.functional.one_hot(given, FIRST_POSITION + positions)[:, :, FIRST_POSITION:].cumsum(1)
        forgotten = torch.zeros_like(counts)
        forgotten[:, self.config.remembered :] = counts[:, : -self.config.remembered]
        return counts > forgotten

    def _read(self, recent: Tensor, first: Tensor, steps: Tensor, memory: Memory) -> Tensor:
        """Return what the GRU reads, (R, T, H), of recent (R, T, recent), first (R, T) and steps (R, T)."""
        rows, length = first.shape
        tokens = torch.cat([recent, first.unsqueeze(2)], 2).reshape(rows, -1)
        seen = self._look_up(tokens, memory).reshape(rows, length, -1)
        return torch.relu(self.merge(seen) + self.phase(steps % self.config.period))

    def _look_up(self, tokens: Tensor, memory: Memory) -> Tensor:
        """Return (R, K, H) for tokens (R, K): a point's memory, or the vector of a special token."""
        size = memory.memory.shape[2]
        positions = (tokens - FIRST_POSITION).clamp(min=0).unsqueeze(2).expand(-1, -1, size)
        points = memory.memory.gather(1, positions)
        special = self.special[tokens.clamp(max=FIRST_POSITION - 1)].to(points.dtype)
        return torch.where(tokens.unsqueeze(2) < FIRST_POSITION, special, points)

    def _point(self, hidden: Tensor, memory: Memory, taken: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return logits (R, T, 3 + S) and the glimpse's attention (R, T, S) for hidden (R, T, H)."""
        context, attention = self.glimpse(hidden, memory, taken)
        stop, points = self.pointer(hidden, context, memory)
        closed = ~memory.memory_mask.unsqueeze(1) if taken is None else taken | ~memory.memory_mask.unsqueeze(1)
        return join_logits(stop, points.masked_fill(closed, -torch.inf)), attention


def join_logits(stop: Tensor, points: Tensor) -> Tensor:
    """Return (R, T, 3 + S) by token, of `eos` (R, T, 1) and points (R, T, S); -inf at `pad` and `bos`."""
    never = torch.full_like(stop, -torch.inf)
    special = {PAD: never, BOS: never, EOS: stop}
    return torch.cat([*(special[token] for token in range(FIRST_POSITION)), points], 2)


class Glimpse(nn.Module):
    """Looks at the set once before pointing: multi-head attention whose key projection is absorbed in the query's.

    q.(W k) = (W'q).k, so a step needs no projected keys: it reads the memory alone. A learned number a head is added where a
    point was chosen before, so that heads can look past those.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, num_heads * hidden_size)
        self.mix = nn.Linear(num_heads * hidden_size, hidden_size)
        self.taken_bias = nn.Parameter(torch.full((num_heads, 1), -2.0))

    def forward(self, hidden: Tensor, memory: Memory, taken: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the context (R, T, H) and the attention (R, T, S), the mean of the heads."""
        rows, length, size = hidden.shape
        queries = self.query(hidden).view(rows, length * self.num_heads, size) * size**-0.5
        scores = queries @ memory.memory.transpose(1, 2)  # (R, T * heads, S)
        scores = scores.float() + ((~memory.memory_mask).to(torch.float32) * HIDDEN).unsqueeze(1)
        scores = scores.view(rows, length, self.num_heads, -1)
        if taken is not None:
            scores = scores + taken.to(torch.float32).unsqueeze(2) * self.taken_bias
        weights = torch.softmax(scores, dim=-1)
        read = weights.reshape(rows, length * self.num_heads, -1) @ memory.memory
        return self.mix(read.view(rows, length, self.num_heads * size)), weights.mean(2)


class Pointer(nn.Module):
    """Scores every point, and stopping, against a query: 10 * tanh(q . m / sqrt(H))."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.query = nn.Sequential(
            nn.Linear(2 * hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size)
        )
        self.stop = nn.Parameter(torch.randn(hidden_size))
        self.scale = hidden_size**-0.5

    def forward(self, hidden: Tensor, context: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return the logits of `eos` (R, T, 1) and of the points (R, T, S), in [-10, 10]."""
        query = self.query(torch.cat([hidden, context], 2)) * self.scale
        stop = (query * self.stop).sum(2, keepdim=True)
        with full_precision(query.device.type):
            points = query.float() @ memory.memory.transpose(1, 2).float()
        return LOGIT_RANGE * torch.tanh(stop.float()), LOGIT_RANGE * torch.tanh(points.float())
