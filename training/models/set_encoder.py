"""An encoder of point sets that no order of the points can change: self-attention without positions.

There is no positional encoding, as Vinyals et al. 2016 ("Order matters") ask of sets.
"""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from training.config import Config
from training.models.base import Memory
from training.models.self_attention import SelfAttentionLayer, hidden_scores


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
            SelfAttentionLayer(config.hidden_size, config.num_heads, config.dropout) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, points: Tensor, point_counts: Tensor) -> tuple[Memory, Tensor]:
        """Encode points (N, S, 2) float64 with point_counts (N,) int64.

        Returns:
            the memory, zeros where padded; and its mean over the real points, (N, H), a summary of the set.
        """
        scaled, mask = normalise_points(points, point_counts)
        hidden = hidden_scores(mask)
        x = self.features(scaled)
        for layer in self.layers:
            x = layer(x, hidden)
        memory = self.norm(x) * mask.unsqueeze(2)
        counts = point_counts.clamp(min=1).unsqueeze(1)
        return Memory(memory, mask, {}), memory.sum(1) / counts
