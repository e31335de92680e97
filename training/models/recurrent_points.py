"""The encoder of the pointer network's own paper: a recurrent network that reads the points in the order they come in.

Vinyals et al. 2015 (arXiv:1506.03134), section 2.1, there in one direction, here in both by default. What it makes of a
set depends on that order; set_encoder.py has the one that does not.
"""

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from training.config import Config
from training.models.base import Memory
from training.models.cells import CellKind
from training.models.recurrent import RecurrentStack
from training.models.set_encoder import PointFeatures, normalise_points


class RecurrentPointsConfig(Config):
    """Size of the recurrent encoder; where it reads both ways, each direction has half of `hidden_size`."""

    kind: Literal["recurrent"] = "recurrent"
    cell: CellKind = "lstm"
    hidden_size: int = Field(default=256, ge=8)
    num_layers: int = Field(default=1, ge=1)
    bidirectional: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _two_halves(self) -> Self:
        if self.bidirectional and self.hidden_size % 2:
            raise ValueError(f"hidden_size {self.hidden_size} is odd; allowed: even numbers, half for each direction")
        return self


class RecurrentPoints(nn.Module):
    """Encodes points in their order; padding changes nothing."""

    def __init__(self, config: RecurrentPointsConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.features = PointFeatures(size)
        self.recurrent = RecurrentStack(
            config.cell,
            size,
            size // 2 if config.bidirectional else size,
            config.num_layers,
            config.dropout,
            bidirectional=config.bidirectional,
        )

    def forward(self, points: Tensor, point_counts: Tensor) -> tuple[Memory, Tensor]:
        """Encode points (N, S, 2) float64 with point_counts (N,) int64.

        Returns:
            the memory, zeros where padded; and what each direction ended with, (N, H), a summary of the set.
        """
        scaled, mask = normalise_points(points, point_counts)
        outputs, last = self.recurrent(self.features(scaled), mask)
        return Memory(outputs, mask, {}), last
