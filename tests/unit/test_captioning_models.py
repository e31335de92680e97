"""Both captioning models and every kind of attention: stepping is scoring, and Show and Tell sees its image once."""

import pytest
import torch
from torch import nn

from tests.fakes.networks import narrow_network, noise
from training.models.attention import ATTENTION, KEYS
from training.models.captioning import CaptioningDecoder, CaptioningModelConfig, TellingDecoder
from training.models.cells import CELLS
from training.vocabulary import BOS, EOS, PAD

VOCABULARY_SIZE = 11
TARGET = torch.tensor([[4, 5, EOS, PAD], [6, EOS, PAD, PAD], [7, 8, 9, EOS]])
SOURCE = torch.tensor([0, 1, 1])


def model_of(attention, cell="lstm", dropout=0.5):
    torch.manual_seed(0)
    config = CaptioningModelConfig(
        kind="captioning", attention=attention, cell=cell, embedding_size=6, hidden_size=8, dropout=dropout
    )
    network = narrow_network("basic")
    network.set_trainable("none")
    return config.around(network, VOCABULARY_SIZE).eval()


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("cell", CELLS)
@torch.inference_mode()
def test_a_whole_target_scores_as_stepping_through_it(attention, cell):
    model = model_of(attention, cell)
    inputs = {"image": noise(2)}
    whole = model(inputs, SOURCE, TARGET)
    memory, state = model.encoder(inputs)
    memory, state = memory.take(SOURCE), {name: tensor[SOURCE] for name, tensor in state.items()}
    _, looked = model.decoder.look(TARGET, memory, state)
    token = torch.full((3,), BOS)
    for at in range(4):
        logits, state, weights = model.decoder.step(token, memory, state)
        real = TARGET[:, at] != PAD
        torch.testing.assert_close(logits[real], whole[real, at])
        torch.testing.assert_close(weights.sum(1), torch.ones(3))
        torch.testing.assert_close(weights[real], looked[real, at])
        token = TARGET[:, at]


@pytest.mark.parametrize("attention", ATTENTION)
def test_training_reaches_every_weight_but_the_networks(attention):
    model = model_of(attention, dropout=0.0).train()
    scores = model({"image": noise(2)}, SOURCE, TARGET)[TARGET != PAD][:, EOS:]
    scores.log_softmax(1)[:, 2].sum().backward()
    for name, weights in model.named_parameters():
        assert (weights.grad is None) == name.startswith("encoder.network."), name
        assert weights.grad is None or weights.grad.abs().sum() > 0, name


def test_the_model_of_before_has_the_names_of_before():
    names = [name for name in model_of("dot").state_dict() if "network" not in name]
    assert names == [
        "encoder.memory.weight",
        "encoder.memory.bias",
        "encoder.initial.weight",
        "encoder.initial.bias",
        "encoder.image.weight",
        "decoder.output_bias",
        "decoder.embedding.weight",
        "decoder.cell.input_weight",
        "decoder.cell.bias",
        "decoder.cell.recurrent",
        "decoder.attentional.weight",
        "decoder.attentional.bias",
        "decoder.readout.weight",
        "decoder.readout.bias",
    ]


@torch.inference_mode()
def test_show_and_tell_feeds_the_mean_of_the_image_as_the_first_input():
    model = model_of("none")
    assert isinstance(model.decoder, TellingDecoder)
    features = torch.randn(2, 4, model.encoder.network.feature_size)
    memory, state = model.encoder({"features": features})
    cell = model.decoder.cell
    reference = nn.LSTMCell(6, 8)
    order = [0, 2, 3, 1]  # torch's gates i f g o, ours i o f g
    for ours, torchs in ((cell.input_weight, reference.weight_ih), (cell.recurrent, reference.weight_hh)):
        torchs.copy_(torch.cat([ours.chunk(4)[place] for place in order]))
    reference.bias_ih.copy_(torch.cat([cell.bias.chunk(4)[place] for place in order]))
    reference.bias_hh.zero_()
    hidden, inner = reference(model.encoder.image(features.mean(1)))
    torch.testing.assert_close(state, {"hidden": hidden, "cell": inner})
    assert memory.memory.shape == (2, 4, 1)
    assert not memory.memory.any()
    token = torch.tensor([5, 6])
    logits, after, weights = model.decoder.step(token, memory, state)
    hidden, inner = reference(model.decoder.embedding(token) * 6**0.5, (hidden, inner))
    torch.testing.assert_close(after, {"hidden": hidden, "cell": inner})
    expected = model.decoder.readout(hidden) @ model.decoder.embedding.weight.T + model.decoder.output_bias
    torch.testing.assert_close(logits[:, EOS:], expected[:, EOS:])
    assert (weights == 0.25).all()


def test_show_and_tell_has_one_cell_in_its_encoder_and_decoder():
    model = model_of("none")
    assert model.encoder.cell is model.decoder.cell
    state = model.state_dict()
    torch.testing.assert_close(state["encoder.cell.recurrent"], state["decoder.cell.recurrent"])
    again = model_of("none")
    again.load_state_dict(state)
    assert again.encoder.cell is again.decoder.cell


@torch.inference_mode()
def test_features_given_are_features_seen():
    for attention in ATTENTION:
        model = model_of(attention)
        images = noise(2)
        seen = model.encoder({"image": images})
        given = model.encoder({"features": model.encoder.network(images)})
        torch.testing.assert_close(seen[0].memory, given[0].memory)
        torch.testing.assert_close(seen[1], given[1])


def test_only_additive_attention_keeps_keys():
    kept = {attention: list(model_of(attention).encoder({"image": noise(2)})[0].extra) for attention in ATTENTION}
    assert kept == {"dot": [], "scaled": [], "general": [], "additive": [KEYS], "none": []}
    assert isinstance(model_of("additive").decoder, CaptioningDecoder)
