"""An encoder of point sets that no order of the points can change: pre-norm self-attention without positions.

Vaswani et al. 2017 (arXiv:1706.03762), section 3.1, with the layer norm before each block (Xiong et al. 2020,
arXiv:2002.04745) and no positional encoding, as Vinyals et al. 2016 ("Order matters") ask of sets.
"""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from training.config import Config
from training.models.base import Memory

HIDDEN = -1e9
"""Added to the attention score of a padded position: finite, so that a set without points gives no NaN."""


def normalise_points(points: Tensor, point_counts: Tensor) -> tuple[Tensor, Tensor]:
    """Move and scale each set: lower left corner of its bounding box to 0, longer side to 1.

    The arithmetic is float64, so that map coordinates far from the origin keep their differences. A set whose points
    all coincide has no side to scale by and comes out as zeros.

    Args:
        points: (N, S, 2) float64, finite, any coordinates.
        point_counts: (N,) int64, real points of each set; those after them are padding and never read.

    Returns:
        (N, S, 2) float32 in [0, 1], 0 where padded; and the mask (N, S), True = real.
    """
    mask = torch.arange(points.shape[1], device=points.device) < point_counts.unsqueeze(1)
    real = mask.unsqueeze(2)
    lowest = points.masked_fill(~real, torch.inf).amin(1, keepdim=True)
    highest = points.masked_fill(~real, -torch.inf).amax(1, keepdim=True)
    longest = (highest - lowest).amax(2, keepdim=True)  # (N, 1, 1)
    scaled = (points - lowest) / longest.masked_fill(longest <= 0, 1.0)
    return scaled.masked_fill(~real, 0.0).to(torch.float32), mask


class PointFeatures(nn.Module):
    """Maps each coordinate pair to H numbers, in float32 even under autocast: eight bits would move the point."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.randn(hidden_size))
        self.y = nn.Parameter(torch.randn(hidden_size))
        self.shift = nn.Parameter(torch.rand(hidden_size) - 0.5)

    def forward(self, points: Tensor) -> Tensor:
        """Return (N, S, H) for points (N, S, 2) in [0, 1]."""
        centred = points - 0.5
        return centred[..., 0:1] * self.x + centred[..., 1:2] * self.y + self.shift


class SetAttentionLayer(nn.Module):
    """One pre-norm block: self-attention, then a feed-forward network, each added to what came in."""

    def __init__(self, hidden_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.before_attention = nn.LayerNorm(hidden_size)
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.mix = nn.Linear(hidden_size, hidden_size)
        self.before_feed_forward = nn.LayerNorm(hidden_size)
        self.widen = nn.Linear(hidden_size, 4 * hidden_size)
        self.narrow = nn.Linear(4 * hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return (N, S, H) for x (N, S, H); `hidden` (N, 1, 1, S) is added to the scores, 0 where a position is real."""
        x = x + self.dropout(self._attend(self.before_attention(x), hidden))
        widened = torch.relu(self.widen(self.before_feed_forward(x)))
        after: Tensor = x + self.dropout(self.narrow(widened))
        return after

    def _attend(self, x: Tensor, hidden: Tensor) -> Tensor:
        sets, length, size = x.shape
        heads = self.query_key_value(x).view(sets, length, 3, self.num_heads, size // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, heads, S, H / heads)
        scale = (size // self.num_heads) ** -0.5
        weights = torch.softmax((query * scale) @ key.transpose(2, 3) + hidden, dim=-1)
        mixed = (weights.to(value.dtype) @ value).transpose(1, 2).reshape(sets, length, size)
        attended: Tensor = self.mix(mixed)
        return attended


class SetEncoderConfig(Config):
    """Size of the attentive set encoder."""

    kind: Literal["set"] = "set"
    hidden_size: int = Field(default=128, ge=8)
    num_layers: int = Field(default=3, ge=1)
    num_heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")
        return self


class SetEncoder(nn.Module):
    """Encodes points; permuting a set permutes its memory, and padding changes nothing."""

    def __init__(self, config: SetEncoderConfig) -> None:
        super().__init__()
        self.features = PointFeatures(config.hidden_size)
        self.layers = nn.ModuleList(
            SetAttentionLayer(config.hidden_size, config.num_heads, config.dropout) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, points: Tensor, point_counts: Tensor) -> tuple[Memory, Tensor]:
        """Encode points (N, S, 2) float64 with point_counts (N,) int64.

        Returns:
            the memory, zeros where padded; and its mean over the real points, (N, H), a summary of the set.
        """
        scaled, mask = normalise_points(points, point_counts)
        hidden = ((~mask).to(torch.float32) * HIDDEN)[:, None, None, :]
        x = self.features(scaled)
        for layer in self.layers:
            x = layer(x, hidden)
        memory = self.norm(x) * mask.unsqueeze(2)
        counts = point_counts.clamp(min=1).unsqueeze(1)
        return Memory(memory, mask, {}), memory.sum(1) / counts
