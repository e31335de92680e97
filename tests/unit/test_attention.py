"""Every kind of attention against weights worked out by hand."""

import math

import pytest
import torch

from training.models.attention import ATTENTION, KEYS, Attention, AttentionKind, attend, memory_keys
from training.models.base import Memory

MEMORY = torch.tensor([[[math.log(3), 0.0], [0.0, 5.0], [1000.0, 1000.0]]])
MASK = torch.tensor([[True, True, False]])
THREE_TO_ONE = torch.tensor([[0.75, 0.25, 0.0]])
CONTEXT = torch.tensor([[0.75 * math.log(3), 1.25]])


def attention_with(kind: AttentionKind, **weights: list[list[float]]) -> Attention:
    attention = ATTENTION[kind](2)
    attention.load_state_dict({f"{name}.weight": torch.tensor(rows) for name, rows in weights.items()})
    return attention


def test_weights_are_a_softmax_of_dot_products_over_real_positions() -> None:
    context, weights = attend(torch.tensor([[1.0, 0.0]]), MEMORY, MASK)
    torch.testing.assert_close(weights, THREE_TO_ONE)
    torch.testing.assert_close(context, CONTEXT)


def test_dot_goes_on_with_the_query_and_the_context() -> None:
    query = torch.tensor([[1.0, 0.0]])
    read, weights = attention_with("dot")(query, Memory(MEMORY, MASK, {}))
    torch.testing.assert_close(weights, THREE_TO_ONE)
    torch.testing.assert_close(read, torch.cat([query, CONTEXT], 1))


def test_scaled_divides_by_the_root_of_the_width() -> None:
    query = torch.tensor([[math.sqrt(2), 0.0]])
    read, weights = attention_with("scaled")(query, Memory(MEMORY, MASK, {}))
    torch.testing.assert_close(weights, THREE_TO_ONE)
    torch.testing.assert_close(read, torch.cat([query, CONTEXT], 1))


def test_general_is_a_dot_product_through_a_matrix() -> None:
    query = torch.tensor([[0.0, 4.0]])
    # q^T W m with W = [[7, 9], [1/4, 0]]: the second row says what the query's second number is compared with.
    read, weights = attention_with("general", query=[[7.0, 0.25], [9.0, 0.0]])(query, Memory(MEMORY, MASK, {}))
    torch.testing.assert_close(weights, THREE_TO_ONE)
    torch.testing.assert_close(read, torch.cat([query, CONTEXT], 1))


def test_additive_compares_the_query_with_the_keys() -> None:
    query = torch.tensor([[2.0, 1.0]])
    keys = torch.tensor([[[0.5, -1.0], [-2.0, 0.25], [50.0, 50.0]]])
    attention = attention_with("additive", query=[[1.0, -1.0], [0.0, 3.0]], score=[[2.0, -0.5]])
    read, weights = attention(query, Memory(MEMORY, MASK, {KEYS: keys}))
    # W q = [1, 3]
    first = 2 * math.tanh(1 + 0.5) - 0.5 * math.tanh(3 - 1.0)
    second = 2 * math.tanh(1 - 2.0) - 0.5 * math.tanh(3 + 0.25)
    share = 1 / (1 + math.exp(second - first))
    torch.testing.assert_close(weights, torch.tensor([[share, 1 - share, 0.0]]))
    torch.testing.assert_close(read, torch.tensor([[2.0, 1.0, share * math.log(3), (1 - share) * 5]]))


def test_without_attention_nothing_is_read_and_the_weights_are_even() -> None:
    query = torch.tensor([[2.0, 1.0]])
    read, weights = attention_with("none")(query, Memory(MEMORY, MASK, {}))
    assert torch.equal(read, query)
    assert torch.equal(weights, torch.tensor([[0.5, 0.5, 0.0]]))


@pytest.mark.parametrize("kind", ATTENTION)
def test_read_size_is_the_width_of_what_is_read(kind: AttentionKind) -> None:
    attention, keys = ATTENTION[kind](2), memory_keys(kind, 2)
    memory = Memory(MEMORY, MASK, {} if keys is None else {KEYS: keys(MEMORY)})
    read, _ = attention(torch.ones(1, 2), memory)
    assert read.shape == (1, attention.read_size)
