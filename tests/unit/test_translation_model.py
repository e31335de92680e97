"""The translation model: scoring a target at once is stepping through it; what must never be said has no probability."""

import pytest
import torch

from training.models.base import Memory, SequenceToSequence, State
from training.models.cells import CELLS, CellKind
from training.models.translation import TranslationDecoder, TranslationEncoder, TranslationModelConfig
from training.vocabulary import BOS, EOS, PAD

SOURCES, TARGETS = 11, 9


def small_model(kind: CellKind) -> SequenceToSequence:
    torch.manual_seed(1)
    config = TranslationModelConfig(
        kind="translation", cell=kind, embedding_size=6, encoder_size=4, encoder_layers=2, hidden_size=5, dropout=0.4
    )
    return SequenceToSequence(TranslationEncoder(config, SOURCES), TranslationDecoder(config, TARGETS))


def encode(model: SequenceToSequence) -> tuple[Memory, State]:
    tokens = torch.tensor([[5, 6, 7, EOS], [4, EOS, PAD, PAD], [8, 9, EOS, PAD]])
    memory, state = model.encoder({"source_tokens": tokens, "source_lengths": torch.tensor([4, 2, 3])})
    return memory, state


@pytest.mark.parametrize("kind", CELLS)
def test_a_whole_target_scores_as_its_steps_do(kind: CellKind) -> None:
    model = small_model(kind).eval()
    memory, state = encode(model)
    target = torch.tensor([[4, 5, 6, EOS], [7, EOS, PAD, PAD], [8, 8, EOS, PAD]])
    at_once = model.decoder(target, memory, state)
    token = torch.full((3,), BOS)
    for position in range(target.shape[1]):
        logits, state, attention = model.decoder.step(token, memory, state)
        torch.testing.assert_close(logits, at_once[:, position], atol=1e-5, rtol=0)
        torch.testing.assert_close(attention.sum(-1), torch.ones(3))
        assert not attention[~memory.memory_mask].any()
        token = target[:, position]


def test_pad_and_bos_are_never_said() -> None:
    model = small_model("gru").eval()
    memory, state = encode(model)
    logits, _, _ = model.decoder.step(torch.full((3,), BOS), memory, state)
    assert torch.isneginf(logits[:, [PAD, BOS]]).all()
    assert torch.isfinite(logits[:, EOS:]).all()


def test_rows_of_one_source_need_only_its_memory_taken_twice() -> None:
    model = small_model("lstm").eval()
    memory, state = encode(model)
    source = torch.tensor([1, 1, 2])
    rows = {name: tensor[source] for name, tensor in state.items()}
    logits, _, _ = model.decoder.step(torch.tensor([BOS, BOS, BOS]), memory.take(source), rows)
    torch.testing.assert_close(logits[0], logits[1])
    alone, _, _ = model.decoder.step(torch.full((3,), BOS), memory, state)
    torch.testing.assert_close(logits[2], alone[2], atol=1e-6, rtol=0)


def test_every_weight_gets_a_gradient() -> None:
    model = small_model("gru")
    tokens = torch.tensor([[5, 6, 7, EOS], [4, EOS, PAD, PAD]])
    target = torch.tensor([[4, 5, EOS], [7, EOS, PAD]])
    logits = model({"source_tokens": tokens, "source_lengths": torch.tensor([4, 2])}, torch.tensor([0, 1]), target)
    logits[..., EOS:].square().sum().backward()
    for name, weights in model.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.any(), name
