"""Every exported family against PyTorch; and a source's numbers against those it has beside others."""

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.errors import ParityError
from export.parity import check_parity
from export.torch_model import TorchModel
from serving.bundle import load_bundle
from serving.decoding.step import StepInputs
from serving.session import OnnxModel
from training.models.convolution import QuantizedConvolution

ROW_TOLERANCE = 1e-6
"""A product of matrices may be cut into other blocks when there are more rows; nothing else may change."""


def first_step(model: OnnxModel, rows: int, *, bans: int = 0) -> StepInputs:
    vocabulary = model.bundle.manifest.vocabulary
    ids = np.arange(rows)
    token, query = np.full(rows, vocabulary.bos), np.full(rows, vocabulary.eos)
    return StepInputs(token, ids, ids, np.full((rows, bans), vocabulary.pad), query, candidates=4)


def test_the_bundle_states_that_it_gives_pytorchs_answers(exported):
    (report,) = exported.bundle.manifest.certificates
    assert report.provider == "CPUExecutionProvider"
    for tokens in report.tokens:
        assert tokens.inputs == len(exported.sources)
        assert tokens.identical == 1
        assert tokens.largest_margin is None
    assert report.tensor_error < 1e-4
    assert report.neighbours_error < ROW_TOLERANCE


def test_a_source_alone_has_the_numbers_it_has_in_a_padded_batch(exported):
    lengths = [max(array.shape[:1], default=0) for source in exported.sources for array in source.values()]
    assert len(set(lengths)) > 1 or exported.family == "captioning", "padding is what this is about"
    together = exported.model.encode(exported.sources)
    outputs, states = exported.model.step(
        first_step(exported.model, len(exported.sources)), together.memory, together.state, attention=True
    )
    for place, source in enumerate(exported.sources):
        alone = exported.model.encode([source])
        length = alone.memory["memory"].shape[1]
        for name, tensor in alone.memory.items():
            np.testing.assert_allclose(tensor[0], together.memory[name][place, :length], atol=ROW_TOLERANCE)
        assert not together.memory["memory_mask"][place, length:].any()
        answer, state = exported.model.step(first_step(exported.model, 1), alone.memory, alone.state, attention=True)
        np.testing.assert_allclose(answer.log_prob[0], outputs.log_prob[place], rtol=ROW_TOLERANCE)
        np.testing.assert_array_equal(answer.candidate[0], outputs.candidate[place])
        np.testing.assert_allclose(answer.attention[0], outputs.attention[place, :length], atol=ROW_TOLERANCE)
        for name, tensor in state.items():
            np.testing.assert_allclose(tensor[0], states[name][place], atol=ROW_TOLERANCE)


def test_bans_may_be_none_or_padding_and_change_no_other_tokens_log_prob(exported):
    encoded = exported.model.encode(exported.sources[:2])
    free, _ = exported.model.step(first_step(exported.model, 2), encoded.memory, encoded.state)
    padded, _ = exported.model.step(first_step(exported.model, 2, bans=3), encoded.memory, encoded.state)
    np.testing.assert_array_equal(free.candidate, padded.candidate)
    np.testing.assert_array_equal(free.log_prob, padded.log_prob)

    inputs = first_step(exported.model, 2, bans=1)
    inputs.banned[:, 0] = free.candidate[:, 0]
    banned, _ = exported.model.step(inputs, encoded.memory, encoded.state)
    np.testing.assert_array_equal(banned.candidate[:, :3], free.candidate[:, 1:])
    np.testing.assert_array_equal(banned.log_prob[:, :3], free.log_prob[:, 1:])


def test_the_query_is_answered_before_the_bans(exported):
    encoded = exported.model.encode(exported.sources[:2])
    free, _ = exported.model.step(first_step(exported.model, 2), encoded.memory, encoded.state)
    inputs = first_step(exported.model, 2, bans=1)
    inputs.banned[:, 0] = inputs.query[:] = free.candidate[:, 0]
    banned, _ = exported.model.step(inputs, encoded.memory, encoded.state)
    np.testing.assert_array_equal(banned.query_log_prob, free.log_prob[:, 0])


def test_attention_is_fetched_only_when_asked_for(exported):
    encoded = exported.model.encode(exported.sources[:1])
    step = first_step(exported.model, 1)
    without, _ = exported.model.step(step, encoded.memory, encoded.state)
    asked, _ = exported.model.step(step, encoded.memory, encoded.state, attention=True)
    assert without.attention is None
    assert asked.attention.shape == (1, encoded.memory["memory"].shape[1])
    np.testing.assert_allclose(asked.attention.sum(), 1, rtol=1e-6)


def test_a_warmed_up_model_has_run_every_bucket(exported, monkeypatch):
    lengths = []
    encode = exported.model.encode

    def watched(inputs):
        encoded = encode(inputs)
        lengths.append(encoded.memory["memory"].shape[1])
        return encoded

    monkeypatch.setattr(exported.model, "encode", watched)
    exported.model.warm_up()
    assert tuple(lengths) == exported.bundle.manifest.source_buckets


def test_another_weight_is_found_out(exported):
    other = copy.deepcopy(exported.run.model)
    with torch.no_grad():
        matrix = max(other.decoder.parameters(), key=torch.numel)
        matrix[3:5] += 0.5
    manifest = exported.bundle.manifest
    reference = TorchModel(other, manifest.graphs["fp32"].encoder.inputs)
    with pytest.raises(ParityError, match="PyTorch"):
        check_parity(manifest, reference, exported.model, exported.sources)


def test_the_convolutional_network_keeps_its_own_integers(export_family):
    captioning = export_family("captioning")
    graph = onnx.load(captioning.bundle.path(captioning.bundle.manifest.graphs["fp32"].encoder)).graph
    stored = [numpy_helper.to_array(i) for i in graph.initializer if i.data_type == onnx.TensorProto.UINT8 and i.dims]
    layers = [module for module in captioning.run.model.modules() if isinstance(module, QuantizedConvolution)]
    assert len(layers) == len(stored)
    for layer in layers:
        assert any(np.array_equal(layer.weight_q.numpy(), integers) for integers in stored)


def test_the_graphs_name_nothing_of_the_machine_they_were_made_on(translation):
    for spec in (
        translation.bundle.manifest.graphs["fp32"].encoder,
        translation.bundle.manifest.graphs["fp32"].decoder_step,
    ):
        content = translation.bundle.path(spec).read_bytes()
        assert b"/training/" not in content
        assert b"site-packages" not in content


def test_the_manifest_survives_a_round_trip(exported):
    assert load_bundle(exported.bundle.folder).manifest == exported.bundle.manifest
