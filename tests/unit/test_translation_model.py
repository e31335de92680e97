"""The translation model, in every architecture: scoring a target at once is stepping through it, and it learns.

What must never be said has no probability. What is left out of a recipe is what the shipped models are.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.fakes.architectures import ARCHITECTURES, OTHERS, SOURCES, TARGETS, fresh_model, untrained_model
from training.loss import smoothed_cross_entropy
from training.models.attention import ATTENTION
from training.models.base import Memory, SequenceToSequence, State
from training.models.cells import CELLS
from training.models.translation import TranslationDecoder, TranslationEncoder, TranslationModelConfig
from training.problems.base import Batch
from training.problems.reverse import ReverseConfig
from training.vocabulary import BOS, EOS, PAD

every_architecture = pytest.mark.parametrize("name", [*ARCHITECTURES, *OTHERS])
SOURCE_TOKENS = torch.tensor([[5, 6, 7, EOS], [4, EOS, PAD, PAD], [8, 9, EOS, PAD]])
SOURCE_LENGTHS = torch.tensor([4, 2, 3])
TARGET = torch.tensor([[4, 5, 6, EOS], [7, EOS, PAD, PAD], [8, 8, EOS, PAD]])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Products as small as these take a second thread forty times as long where another process has its core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def encode(model: SequenceToSequence) -> tuple[Memory, State]:
    memory, state = model.encoder({"source_tokens": SOURCE_TOKENS, "source_lengths": SOURCE_LENGTHS})
    return memory, state


def test_every_cell_stands_with_every_attention() -> None:
    said = [(config["cell"], config["attention"]) for config in ARCHITECTURES.values()]
    assert sorted(said) == sorted(itertools.product(CELLS, ATTENTION))


@every_architecture
def test_a_whole_target_scores_as_its_steps_do(name: str) -> None:
    model = untrained_model(name)
    memory, state = encode(model)
    names = set(state)
    at_once = model.decoder(TARGET, memory, state)
    token = torch.full((3,), BOS)
    for position in range(TARGET.shape[1]):
        logits, state, attention = model.decoder.step(token, memory, state)
        torch.testing.assert_close(logits, at_once[:, position], atol=1e-5, rtol=0)
        torch.testing.assert_close(attention.sum(-1), torch.ones(3))
        assert not attention[~memory.memory_mask].any()
        assert set(state) == names
        token = TARGET[:, position]


@every_architecture
def test_pad_and_bos_are_never_said(name: str) -> None:
    model = untrained_model(name)
    memory, state = encode(model)
    logits, _, _ = model.decoder.step(torch.full((3,), BOS), memory, state)
    assert torch.isneginf(logits[:, [PAD, BOS]]).all()
    assert torch.isfinite(logits[:, EOS:]).all()


@every_architecture
def test_rows_of_one_source_need_only_its_memory_taken_twice(name: str) -> None:
    model = untrained_model(name)
    memory, state = encode(model)
    source = torch.tensor([1, 1, 2])
    rows = {name: tensor[source] for name, tensor in state.items()}
    logits, _, _ = model.decoder.step(torch.tensor([BOS, BOS, BOS]), memory.take(source), rows)
    torch.testing.assert_close(logits[0], logits[1])
    alone, _, _ = model.decoder.step(torch.full((3,), BOS), memory, state)
    torch.testing.assert_close(logits[2], alone[2], atol=1e-5, rtol=0)


@every_architecture
def test_every_weight_gets_a_gradient(name: str) -> None:
    model = untrained_model(name).train()
    inputs = {"source_tokens": SOURCE_TOKENS, "source_lengths": SOURCE_LENGTHS}
    logits = model(inputs, torch.arange(3), TARGET)
    logits[..., EOS:].square().sum().backward()
    for weights_name, weights in model.named_parameters():
        assert weights.grad is not None, weights_name
        assert weights.grad.any(), weights_name


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, int, list[Batch]]:
    """Both vocabulary sizes and some batches of the toy problem."""
    folder: Path = tmp_path_factory.mktemp("reverse")
    config = ReverseConfig(kind="reverse", letters="abcd", max_length=4, training_pairs=600)
    problem = config.build(None, folder, seed=1)
    tokenizers = problem.tokenizers
    return tokenizers.source.size, tokenizers.target.size, list(problem.training_batches(0))


@every_architecture
def test_it_learns_the_toy(toy: tuple[int, int, list[Batch]], name: str) -> None:
    source_size, target_size, batches = toy
    torch.manual_seed(1)
    model = fresh_model(name, source_size, target_size)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for step in range(30):
        batch = batches[step % len(batches)]
        loss = smoothed_cross_entropy(model(batch.inputs, batch.source, batch.target), batch.target, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_recipe_that_says_nothing_has_the_weights_of_the_shipped_models() -> None:
    config = TranslationModelConfig(kind="translation", embedding_size=6, encoder_size=4, hidden_size=5)
    model = SequenceToSequence(TranslationEncoder(config, SOURCES), TranslationDecoder(config, TARGETS))
    directions = {
        f"encoder.recurrent.layers.0.{direction}_cell.{weight}": shape
        for direction in ("forward", "backward")
        for weight, shape in {
            "input_weight": (12, 6),
            "bias": (12,),
            "recurrent_gates": (8, 4),
            "recurrent_candidate": (4, 4),
        }.items()
    }
    assert {name: tuple(weights.shape) for name, weights in model.state_dict().items()} == {
        "encoder.embedding.weight": (SOURCES, 6),
        **directions,
        "encoder.memory.weight": (5, 8),
        "encoder.memory.bias": (5,),
        "encoder.initial.weight": (5, 8),
        "encoder.initial.bias": (5,),
        "decoder.output_bias": (TARGETS,),
        "decoder.embedding.weight": (TARGETS, 6),
        "decoder.cell.input_weight": (15, 6),
        "decoder.cell.bias": (15,),
        "decoder.cell.recurrent_gates": (10, 5),
        "decoder.cell.recurrent_candidate": (5, 5),
        "decoder.feed.weight": (15, 5),
        "decoder.attentional.weight": (5, 10),
        "decoder.attentional.bias": (5,),
        "decoder.readout.weight": (6, 5),
        "decoder.readout.bias": (6,),
    }


def test_without_attention_the_decoder_knows_the_first_state_alone() -> None:
    model = untrained_model("lstm, none")
    memory, state = encode(model)
    assert memory.memory.shape == (3, 4, 1)
    other = Memory(torch.randn(3, 4, 1), memory.memory_mask, {})
    token = torch.full((3,), BOS)
    assert torch.equal(model.decoder.step(token, memory, state)[0], model.decoder.step(token, other, state)[0])


def test_what_was_attended_to_is_in_the_state_only_where_it_is_fed() -> None:
    assert set(encode(untrained_model("lstm, dot"))[1]) == {"hidden", "cell", "attentional"}
    assert set(encode(untrained_model("gru_reset_after, dot"))[1]) == {"hidden"}


def test_every_layer_of_the_decoder_has_a_state_of_its_own() -> None:
    state = encode(untrained_model("lstm, none"))[1]
    assert set(state) == {"hidden", "cell", "hidden_2", "cell_2", "hidden_3", "cell_3"}
    assert not torch.equal(state["hidden"], state["hidden_2"])
    assert not any(state[name].any() for name in ("cell", "cell_2", "cell_3"))


def test_feeding_what_nothing_attended_to_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"input_feeding true feeds .* attention none"):
        TranslationModelConfig(kind="translation", attention="none")
