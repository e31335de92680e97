"""Attention: what a decoder's state makes of what the encoder remembers. Each kind is a class; the equation is in it.

weights = softmax over real positions of score(q, m_s);  c = sum over s of weights_s m_s
"""

import math
from typing import Final, Literal

import torch
from torch import Tensor, nn

from training.models.base import Memory

AttentionKind = Literal["dot", "scaled", "general", "additive", "none"]
KEYS: Final = "keys"
"""The name in `Memory.extra` of what additive attention compares with; ONNX: `memory.keys`."""


def attend(query: Tensor, memory: Tensor, memory_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Read memory by likeness to the query. Luong et al. 2015, arXiv:1508.04025, eq. 7 and 8, score `dot`.

    Args:
        query: (R, H), a decoder state a row.
        memory: (R, S, H), what each row reads.
        memory_mask: (R, S) bool, True where real; at least one is, in every row.

    Returns:
        context (R, H), the mean of memory under the weights; and the weights (R, S), 0 where masked, rows summing to 1.
    """
    return read_by(torch.bmm(memory, query.unsqueeze(2)).squeeze(2), memory, memory_mask)


def read_by(scores: Tensor, memory: Tensor, memory_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `attend` does, of scores (R, S) that were made in any way."""
    weights = torch.softmax(scores.float().masked_fill(~memory_mask, float("-inf")), -1)
    context = torch.bmm(weights.unsqueeze(1).to(memory.dtype), memory).squeeze(1)
    return context, weights


class Attention(nn.Module):
    """What every kind is: from a query and the memory to what the decoder speaks from.

    Attributes:
        read_size: the width of that.
    """

    def __init__(self, read_size: int) -> None:
        super().__init__()
        self.read_size = read_size

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Look once.

        Args:
            query: (R, H), a decoder state a row.
            memory: already gathered, one source a row.

        Returns:
            [q; c] (R, 2 H), the query and the context; and the weights (R, S), 0 where masked, rows summing to 1.
        """
        raise NotImplementedError


class ProductAttention(Attention):
    """What scores by a product with memory: score(q, m) = sought(q)^T m."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(2 * hidden_size)

    def sought(self, query: Tensor) -> Tensor:
        """Return what memory is compared with, (..., H), of queries (..., H)."""
        raise NotImplementedError

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Look once."""
        context, weights = attend(self.sought(query), memory.memory, memory.memory_mask)
        return torch.cat([query, context], -1), weights


class DotAttention(ProductAttention):
    """Luong et al. 2015, eq. 8, `dot`: score(q, m) = q^T m."""

    def sought(self, query: Tensor) -> Tensor:
        """Return the query as it is."""
        return query


class ScaledAttention(ProductAttention):
    """Vaswani et al. 2017, arXiv:1706.03762, eq. 1: score(q, m) = q^T m / sqrt(H).

    A sum of H products is about sqrt(H) times as large as each. Unscaled, a wide memory that nothing normalises makes the softmax
    choose one position from the first steps of training on, and learn no other.
    """

    def sought(self, query: Tensor) -> Tensor:
        """Return the query, made smaller."""
        return query / math.sqrt(query.shape[-1])


class GeneralAttention(ProductAttention):
    """Luong et al. 2015, eq. 8, `general`: score(q, m) = q^T W m.

    Worked out as (W^T q)^T m: one product a row instead of one a position.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)  # W^T

    def sought(self, query: Tensor) -> Tensor:
        """Return W^T q."""
        sought: Tensor = self.query(query)
        return sought


class AdditiveAttention(Attention):
    """Bahdanau et al. 2014, arXiv:1409.0473, appendix A.1.2: score(q, m) = v^T tanh(W q + U m).

    U m is in the memory already, as `keys`, for the encoder computes it once a source (`memory_keys`) and not a step.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__(2 * hidden_size)
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)  # W
        self.score = nn.Linear(hidden_size, 1, bias=False)  # v

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Look once."""
        context, weights = read_by(self.scores(query, memory.extra[KEYS]), memory.memory, memory.memory_mask)
        return torch.cat([query, context], -1), weights

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return score(q, m), (..., S), of queries (..., H) and keys U m (..., S, H)."""
        both = torch.tanh(self.query(query).unsqueeze(-2) + keys)
        scores: Tensor = self.score(both).squeeze(-1)
        return scores


class NoAttention(Attention):
    """The plain encoder-decoder, whose first state is all that it knows of the source. Sutskever et al. 2014, arXiv:1409.3215.

    It looks at nothing: its weights are the same for every real position, so that they sum to 1 as the step's contract has it,
    and mean nothing. Of the memory only the mask is read.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return the query as it is, (R, H), and even weights."""
        real = memory.memory_mask.to(torch.float32)
        return query, real / real.sum(1, keepdim=True)


ATTENTION: Final[
    dict[AttentionKind, type[DotAttention | ScaledAttention | GeneralAttention | AdditiveAttention | NoAttention]]
] = {
    "dot": DotAttention,
    "scaled": ScaledAttention,
    "general": GeneralAttention,
    "additive": AdditiveAttention,
    "none": NoAttention,
}


def memory_keys(kind: AttentionKind, hidden_size: int) -> nn.Linear | None:
    """Return what an encoder computes of its memory (N, S, H) for a kind of attention, to be put under `KEYS`: U, or None."""
    return nn.Linear(hidden_size, hidden_size, bias=False) if kind == "additive" else None
