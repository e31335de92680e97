"""The loss against sums worked out by hand."""

import math

import pytest
import torch

from training.loss import count_errors, smoothed_cross_entropy, symmetric_divergence, unevenness
from training.vocabulary import PAD

INFINITE = float("-inf")


def test_smoothing_spreads_over_the_allowed_tokens_alone() -> None:
    # One token: probabilities 1/2, 1/4, 1/4 on the three allowed of five; the target is the first of them.
    logits = torch.tensor([[[INFINITE, INFINITE, math.log(2), 0.0, 0.0]]])
    loss = smoothed_cross_entropy(logits, torch.tensor([[2]]), 0.3)
    # The smoothed target: 0.7 + 0.1, 0.1, 0.1.
    assert loss.item() == pytest.approx(0.8 * math.log(2) + 2 * 0.1 * math.log(4))


def test_padding_counts_for_nothing() -> None:
    logits = torch.zeros(2, 3, 5).index_fill(2, torch.tensor([PAD]), INFINITE)
    target = torch.tensor([[2, 3, PAD], [4, PAD, PAD]])
    logits[1, 1:, 4] = 1000.0
    assert smoothed_cross_entropy(logits, target, 0.1).item() == pytest.approx(math.log(4))


def test_without_smoothing_it_is_the_cross_entropy_of_torch() -> None:
    torch.manual_seed(1)
    logits, target = torch.randn(3, 4, 7), torch.randint(1, 7, (3, 4))
    target[0, 2:] = PAD
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)
    torch.testing.assert_close(smoothed_cross_entropy(logits, target, 0.0), expected)


def test_the_gradient_is_that_of_the_formula_and_zero_where_not_allowed() -> None:
    torch.manual_seed(1)
    banned = torch.zeros(2, 3, 6, dtype=torch.bool)
    banned[..., :2] = True
    banned[1, :, 5] = True  # a shorter source's padded position
    target = torch.tensor([[2, 5, PAD], [4, 3, 2]])
    weights = torch.randn(2, 3, 6, requires_grad=True)
    smoothed_cross_entropy(weights.masked_fill(banned, INFINITE), target, 0.2).backward()

    by_formula = weights.detach().clone().requires_grad_()
    log_probs = by_formula.masked_fill(banned, INFINITE).log_softmax(-1)
    one_hot = torch.nn.functional.one_hot(target, 6)
    even = (~banned) / (~banned).sum(-1, keepdim=True)
    per_token = -((0.8 * one_hot + 0.2 * even) * log_probs.masked_fill(banned, 0.0)).sum(-1)
    per_token[target != PAD].mean().backward()
    torch.testing.assert_close(weights.grad, by_formula.grad)
    assert weights.grad is not None
    assert not weights.grad[banned].any()


def test_a_chunk_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    logits, target = torch.randn(5, 4, 7), torch.randint(1, 7, (5, 4))
    whole = smoothed_cross_entropy(logits, target, 0.1)
    monkeypatch.setattr("training.loss.CHUNK_ELEMENTS", 20)
    torch.testing.assert_close(smoothed_cross_entropy(logits, target, 0.1), whole)


def test_counts_are_of_real_tokens() -> None:
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 2] = 50.0  # right
    logits[0, 1, 3] = math.log(3)  # wrong: 1/2 on token 3, 1/6 on each other
    counts = count_errors(logits, torch.tensor([[2, 1, PAD]]))
    assert counts.correct == 1
    assert counts.tokens == 2
    assert counts.cross_entropy == pytest.approx(math.log(6))


def test_the_divergence_and_its_gradients_are_those_of_torch() -> None:
    torch.manual_seed(2)
    first, second = (torch.randn(2, 3, 6, dtype=torch.float64).float().requires_grad_() for _ in range(2))
    target = torch.tensor([[3, 4, PAD], [2, PAD, PAD]])
    real = (target != PAD).flatten()
    p, q = (logits.flatten(0, 1)[real].log_softmax(-1) for logits in (first, second))
    kl = torch.nn.functional.kl_div
    expected = 0.5 * (
        kl(p, q, reduction="batchmean", log_target=True) + kl(q, p, reduction="batchmean", log_target=True)
    )
    slopes = torch.autograd.grad(expected, (first, second))
    divergence = symmetric_divergence(first, second, target)
    torch.testing.assert_close(divergence, expected)
    for slope, wanted in zip(torch.autograd.grad(divergence, (first, second)), slopes, strict=True):
        torch.testing.assert_close(slope, wanted)


def test_what_is_not_allowed_is_no_part_of_the_divergence() -> None:
    # P = 1/2, 1/2 and Q = 1/4, 3/4 on the two allowed of three: half of sum (p - q) log(p / q) is 1/8 log 3.
    first = torch.tensor([[[INFINITE, 0.0, 0.0]]], requires_grad=True)
    second = torch.tensor([[[INFINITE, 0.0, math.log(3)]]], requires_grad=True)
    divergence = symmetric_divergence(first, second, torch.tensor([[2]]))
    assert divergence.item() == pytest.approx(0.125 * math.log(3))
    divergence.backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None
    assert first.grad[0, 0, 0] == 0
    assert second.grad is not None
    assert second.grad.isfinite().all()


def test_a_model_that_is_consistent_already_pays_nothing_for_it() -> None:
    logits = torch.randn(1, 2, 5)
    assert symmetric_divergence(logits, logits, torch.tensor([[2, 3]])).item() == pytest.approx(0, abs=1e-7)


def test_unevenness_is_of_all_real_tokens_together_and_of_real_positions() -> None:
    # Two words look at one position each, a third is padding; the last position is none.
    attention = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]])
    target = torch.tensor([[3, 4, PAD]])
    cost = unevenness(attention, torch.tensor([[True, True, False]]), target)
    assert cost.item() == pytest.approx(((1 - 1.5) ** 2 + (1 - 0.5) ** 2) / 2)


def test_looking_at_each_position_once_costs_nothing() -> None:
    attention = torch.eye(3).unsqueeze(0)
    target, mask = torch.tensor([[3, 4, 5]]), torch.ones(1, 3, dtype=torch.bool)
    assert unevenness(attention, mask, target).item() == 0
    assert unevenness(attention[:, :1].expand(1, 3, 3), mask, target).item() == pytest.approx((4 + 1 + 1) / 3)
