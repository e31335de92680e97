"""Self-attention over the positions of a source, for the encoders of points and of text.

Vaswani et al. 2017 (arXiv:1706.03762), section 3.1, with the layer norm before each block (Xiong et al. 2020,
arXiv:2002.04745).
"""

import math

import torch
from torch import Tensor, nn

HIDDEN = -1e9
"""Added to the attention score of a padded position: finite, so that a set without points gives no NaN."""
SLOWEST = 10_000.0
"""The longest wave of the positions is 2 pi times as many positions long. Vaswani et al. 2017, section 3.5."""


def hidden_scores(mask: Tensor) -> Tensor:
    """Return what is added to attention scores, (N, 1, 1, S) float32: 0 where `mask` (N, S) is True, HIDDEN elsewhere."""
    return ((~mask).to(torch.float32) * HIDDEN)[:, None, None, :]


class SelfAttentionLayer(nn.Module):
    """One pre-norm block: self-attention, then a feed-forward network, each added to what came in.

    `feed_forward_size` is four times `hidden_size` by default, as in Vaswani et al. 2017.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, dropout: float, *, feed_forward_size: int | None = None
    ) -> None:
        super().__init__()
        inner = 4 * hidden_size if feed_forward_size is None else feed_forward_size
        self.num_heads = num_heads
        self.before_attention = nn.LayerNorm(hidden_size)
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.mix = nn.Linear(hidden_size, hidden_size)
        self.before_feed_forward = nn.LayerNorm(hidden_size)
        self.widen = nn.Linear(hidden_size, inner)
        self.narrow = nn.Linear(inner, hidden_size)
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


class AttentiveStack(nn.Module):
    """Layers of self-attention over a text, which know where each position is; to be used where a RecurrentStack is.

    Attributes:
        output_size: H.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
        *,
        feed_forward_size: int | None = None,
    ) -> None:
        super().__init__()
        self.output_size = hidden_size
        self.input = nn.Linear(input_size, hidden_size)
        self.scale = math.sqrt(input_size)  # embeddings are of unit length, positions of entries around 1
        self.layers = nn.ModuleList(
            [
                SelfAttentionLayer(hidden_size, num_heads, dropout, feed_forward_size=feed_forward_size)
                for _ in range(num_layers)
            ]
        )
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Read texts, whose padding changes nothing.

        Args:
            inputs: embeddings (B, S, I).
            mask: (B, S) bool, True where a position is real; at least one is.

        Returns:
            the top layer's outputs (B, S, H), 0 where padded; and their mean over the real positions, (B, H).
        """
        x = self.input(inputs * self.scale) + positions(inputs.shape[1], self.output_size, inputs.device)
        hidden = hidden_scores(mask)
        for layer in self.layers:
            x = layer(x, hidden)
        outputs = self.norm(x) * mask.unsqueeze(2)
        return outputs, outputs.sum(1) / mask.sum(1, keepdim=True)


def positions(length: int, size: int, device: torch.device) -> Tensor:
    """Return sines, then cosines, of each position at `size` / 2 wavelengths from 2 pi to SLOWEST times that, (length, size)."""
    half = size // 2
    rates = torch.exp(torch.arange(half, device=device) * (-math.log(SLOWEST) / max(half - 1, 1)))
    angles = torch.arange(length, device=device).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
