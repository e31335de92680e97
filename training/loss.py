"""The training loss: cross-entropy with label smoothing over the tokens that are allowed."""

from typing import NamedTuple

import torch
from torch import Tensor

from training.vocabulary import PAD


class Loss(NamedTuple):
    """Sums over the real tokens of a batch.

    Attributes:
        smoothed: () the smoothed cross-entropy, in nats; what is minimised, divided by `tokens`.
        cross_entropy: () against the targets alone.
        correct: () how many targets were the likeliest token.
        tokens: () how many real targets there are.
    """

    smoothed: Tensor
    cross_entropy: Tensor
    correct: Tensor
    tokens: Tensor


def sequence_loss(logits: Tensor, target: Tensor, smoothing: float) -> Loss:
    """Compare logits with targets. Szegedy et al. 2016, arXiv:1512.00567, section 7.

    The smoothed target gives 1 - smoothing to the true token and spreads `smoothing` evenly over the A allowed ones, the
    true one among them: those whose logit is not -inf (`pad`, `bos` and padded positions of a pointing source have -inf).

    Args:
        logits: (B, T, V), -inf where not allowed.
        target: (B, T) int64, tokens then `eos`, padded with `pad`.
        smoothing: from 0 to below 1.
    """
    real = target != PAD
    scores = logits.float()
    log_normalizer = scores.logsumexp(-1)  # (B, T)
    cross_entropy = _sum_where(real, log_normalizer - scores.gather(2, target.unsqueeze(2)).squeeze(2))
    smoothed = cross_entropy
    if smoothing > 0:
        banned = scores.detach() == float("-inf")
        allowed = scores.shape[2] - banned.sum(-1)
        mean_score = scores.masked_fill(banned, 0.0).sum(-1) / allowed
        smoothed = (1 - smoothing) * cross_entropy + smoothing * _sum_where(real, log_normalizer - mean_score)
    correct = _sum_where(real, scores.detach().argmax(-1) == target)
    return Loss(smoothed, cross_entropy.detach(), correct, real.sum())


def _sum_where(mask: Tensor, values: Tensor) -> Tensor:
    """Sum values (B, T) where the mask is True; what stands elsewhere may be infinite."""
    return torch.where(mask, values, torch.zeros_like(values)).sum()
