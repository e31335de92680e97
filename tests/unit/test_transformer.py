"""What is the Transformer's own; that it scores, steps and learns as the others is in test_translation_model.py."""

import pytest
import torch
from pydantic import ValidationError

from tests.fakes.architectures import TRANSFORMER, untrained_model
from training.models.base import Memory
from training.models.transformer import HeadsOfMemory, SimpleRecurrentUnit, TransformerConfig
from training.vocabulary import BOS, EOS, PAD


def test_a_unit_keeps_of_its_cell_what_the_forget_gate_says() -> None:
    torch.manual_seed(0)
    unit = SimpleRecurrentUnit(4)
    x, cell = torch.randn(2, 3, 4), torch.randn(2, 4)
    outputs, last = unit(x, cell)
    with torch.no_grad():
        for step in range(3):
            candidate = x[:, step] @ unit.input.weight[:4].T + unit.input.bias[:4]
            forget = torch.sigmoid(x[:, step] @ unit.input.weight[4:].T + unit.input.bias[4:])
            cell = forget * cell + (1 - forget) * candidate
            torch.testing.assert_close(outputs[:, step], cell.clamp(min=0))
    torch.testing.assert_close(last, cell)


def test_heads_are_attention_over_their_own_columns() -> None:
    torch.manual_seed(0)
    attention = HeadsOfMemory(6, 3)
    x, memory = torch.randn(2, 4, 6), torch.randn(2, 5, 6)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    read, weights = attention(x, memory, mask)
    query = attention.query(x)
    contexts, expected = [], []
    for head in range(3):
        columns = slice(2 * head, 2 * head + 2)
        scores = torch.einsum("rtd,rsd->rts", query[..., columns], memory[..., columns]) / 2**0.5
        expected.append(scores.masked_fill(~mask.unsqueeze(1), float("-inf")).softmax(-1))
        contexts.append(expected[-1] @ memory[..., columns])
    torch.testing.assert_close(read, attention.mix(torch.cat(contexts, -1)))
    torch.testing.assert_close(weights, torch.stack(expected).mean(0))


def test_every_layer_of_the_decoder_has_a_cell_and_a_memory_of_its_own() -> None:
    model = untrained_model(TRANSFORMER)
    inputs = {"source_tokens": torch.tensor([[5, 6, EOS], [4, EOS, PAD]]), "source_lengths": torch.tensor([3, 2])}
    memory, state = model.encoder(inputs)
    assert set(memory.extra) == {"layer_2"}
    assert set(state) == {"cell", "cell_2"}
    token = torch.full((2,), BOS)
    logits = model.decoder.step(token, memory, state)[0]
    for changed in (
        Memory(memory.memory + 1, memory.memory_mask, memory.extra),
        Memory(memory.memory, memory.memory_mask, {"layer_2": memory.extra["layer_2"] + 1}),
    ):
        assert not torch.allclose(model.decoder.step(token, changed, state)[0][:, EOS:], logits[:, EOS:], atol=1e-3)


def test_half_a_head_is_refused() -> None:
    with pytest.raises(ValidationError, match="hidden_size 160 is no multiple of twice num_heads, 12"):
        TransformerConfig(kind="transformer", num_heads=6)
