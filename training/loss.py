"""Training losses: cross-entropy, smoothed over the allowed tokens or weighed; how far two passes are apart; where
was looked; counts.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.vocabulary import PAD

CHUNK_ELEMENTS = 400_000
"""Logits worked on at once, so that they stay in a core's cache: over whole batches the loss took 40 % of a step."""


def smoothed_cross_entropy(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Return the mean loss a real token, in nats. Szegedy et al. 2016, arXiv:1512.00567, section 7.

    The smoothed target gives 1 - smoothing to the true token and spreads `smoothing` evenly over the A allowed ones, the
    true one among them: those whose logit is not -inf (`pad`, `bos` and padded positions of a pointing source have -inf).

    Args:
        logits: (B, T, V), of any float type; -inf where not allowed.
        target: (B, T) int64, tokens then `eos`, padded with `pad`; at least one is real.
        smoothing: from 0 to below 1.
    """
    return _cross_entropy(logits, target, torch.ones_like(target, dtype=torch.float32), smoothing)


def weighed_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over real tokens of weight times cross-entropy, in nats.

    Args:
        logits: (B, T, V), of any float type; -inf where not allowed.
        target: (B, T) int64, tokens then `eos`, padded with `pad`; at least one is real.
        weights: (B,) float32, of any sign.
    """
    return _cross_entropy(logits, target, weights.unsqueeze(1).expand_as(target), 0.0)


def _cross_entropy(logits: Tensor, target: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Return the mean over real tokens; logits (B, T, V), the others (B, T)."""
    loss: Tensor = _CrossEntropy.apply(logits.flatten(0, 1), target.flatten(), weights.flatten(), smoothing)  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(torch.autograd.Function):
    """The loss and its gradient (softmax minus smoothed target) in one pass over the logits, in float32."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
        """Return the mean weighed loss of logits (M, V) against labels (M,); rows labelled `pad` count for nothing."""
        real = (labels != PAD).nonzero().squeeze(1)
        gradient = torch.zeros_like(logits)
        total = logits.new_zeros((), dtype=torch.float32)
        for part in torch.split(real, max(1, CHUNK_ELEMENTS // logits.shape[1])):
            losses, slopes = _losses_and_slopes(logits[part], labels[part], smoothing)
            gradient[part] = slopes.mul_((weights[part] / len(real)).unsqueeze(1)).to(gradient.dtype)
            total += losses @ weights[part]
        ctx.save_for_backward(gradient)
        return total / len(real)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient by the logits."""
        (gradient,) = ctx.saved_tensors
        return gradient * slope, None, None, None


def _losses_and_slopes(scores: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the loss of each row of scores (M, V), and its gradient (M, V), in float32."""
    log_probs = torch.log_softmax(scores, -1, dtype=torch.float32)
    labels = labels.unsqueeze(1)
    loss = (smoothing - 1) * log_probs.gather(1, labels).squeeze(1)
    slope = log_probs.exp()
    if smoothing > 0:
        # Masks of floats, and products with them: on a CPU several times faster than masks of bools.
        allowed = torch.gt(log_probs, float("-inf"), out=torch.empty_like(log_probs))
        share = smoothing / allowed.sum(-1)  # (M,), of each allowed token
        loss -= share * log_probs.nan_to_num_(nan=float("nan"), neginf=0.0).sum(-1)
        slope.addcmul_(allowed, share.unsqueeze(1), value=-1)
    slope.scatter_add_(1, labels, slope.new_full(labels.shape, smoothing - 1))
    return loss, slope


def symmetric_divergence(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """Return half of KL(P || Q) + KL(Q || P), the mean over real tokens, in nats. Liang et al. 2021 (arXiv:2106.14448), eq. 2.

    Args:
        first: (B, T, V) logits of P, of any float type; -inf where not allowed, at the same places as `second`.
        second: (B, T, V) logits of Q.
        target: (B, T) int64, tokens then `eos`, padded with `pad`; at least one is real.
    """
    divergence: Tensor = _Divergence.apply(first.flatten(0, 1), second.flatten(0, 1), target.flatten())  # type: ignore[no-untyped-call]
    return divergence


class _Divergence(torch.autograd.Function):
    """The divergence and its gradients in one pass over both logits, in float32.

    J = 1/2 sum (p - q) d with d = log p - log q;  dJ/dz_p = 1/2 (p (d - E_p d) + p - q), dJ/dz_q = 1/2 (q (E_q d - d) + q - p).
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
        """Return the mean divergence of logits (M, V) each; rows labelled `pad` count for nothing."""
        real = (labels != PAD).nonzero().squeeze(1)
        slopes = torch.zeros_like(first), torch.zeros_like(second)
        total = first.new_zeros((), dtype=torch.float32)
        for part in torch.split(real, max(1, CHUNK_ELEMENTS // first.shape[1])):
            log_p = torch.log_softmax(first[part], -1, dtype=torch.float32)
            log_q = torch.log_softmax(second[part], -1, dtype=torch.float32)
            p, q = log_p.exp(), log_q.exp()
            distance = log_p.sub_(log_q).nan_to_num_(nan=0.0)  # -inf less -inf where not allowed
            apart = p - q
            total += 0.5 * (apart * distance).sum()
            by_p = (p * distance).sum(-1, keepdim=True)
            by_q = (q * distance).sum(-1, keepdim=True)
            slopes[0][part] = (0.5 / len(real) * (p * (distance - by_p) + apart)).to(first.dtype)
            slopes[1][part] = (0.5 / len(real) * (q * (by_q - distance) - apart)).to(second.dtype)
        ctx.save_for_backward(*slopes)
        return total / len(real)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients by both logits."""
        by_first, by_second = ctx.saved_tensors
        return by_first * slope, by_second * slope, None


def unevenness(attention: Tensor, memory_mask: Tensor, target: Tensor) -> Tensor:
    """Return sum over positions s of (1 - sum over t of attention_ts)^2, summed over targets, a real token. A scalar.

    Least where every position is looked at as much as any other over the whole of a target, though a token may look at one alone:
    doubly stochastic attention, Xu et al. 2015 (arXiv:1502.03044), eq. 14, without its lambda.

    Args:
        attention: (B, T, S), rows summing to 1.
        memory_mask: (B, S) bool, True where a position is real.
        target: (B, T) int64, tokens then `eos`, padded with `pad`; at least one is real.
    """
    real = target != PAD
    looked = (attention.float() * real.unsqueeze(2)).sum(1)  # (B, S)
    return ((1 - looked).square() * memory_mask).sum() / real.sum()


class Counts(NamedTuple):
    """What one batch adds to a validation.

    Attributes:
        cross_entropy: summed over real tokens, in nats, without smoothing.
        correct: how many targets were the likeliest token.
        tokens: how many real targets there are.
    """

    cross_entropy: float
    correct: int
    tokens: int


def count_errors(logits: Tensor, target: Tensor) -> Counts:
    """Compare logits (B, T, V) with targets (B, T) int64, `pad` aside."""
    real = target != PAD
    log_probs = logits.float().log_softmax(-1)
    cross_entropy = -log_probs.gather(2, target.unsqueeze(2)).squeeze(2)[real].sum()
    correct = (log_probs.argmax(-1) == target)[real].sum()
    return Counts(cross_entropy.item(), int(correct), int(real.sum()))
