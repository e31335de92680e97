"""Dot-product attention: a softmax over products of the decoder's state with what the encoder remembers."""

import torch
from torch import Tensor


def attend(query: Tensor, memory: Tensor, memory_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Read memory by likeness to the query. Luong et al. 2015, arXiv:1508.04025, eq. 7 and 8, score `dot`.

    Args:
        query: (R, H), a decoder state a row.
        memory: (R, S, H), what each row reads.
        memory_mask: (R, S) bool, True where real; at least one is, in every row.

    Returns:
        context (R, H), the mean of memory under the weights; and the weights (R, S), 0 where masked, rows summing to 1.
    """
    scores = torch.bmm(memory, query.unsqueeze(2)).squeeze(2).float()
    weights = torch.softmax(scores.masked_fill(~memory_mask, float("-inf")), -1)
    context = torch.bmm(weights.unsqueeze(1).to(memory.dtype), memory).squeeze(1)
    return context, weights
