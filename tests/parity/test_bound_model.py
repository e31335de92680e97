"""With IOBinding the answers are those of a plain session, whoever comes and goes. Here the device is the host's own memory."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from serving.decoding.step import StepInputs
from serving.decoding.tensors import on_host
from serving.ensemble import Ensemble, Member, joint_inputs
from serving.runtime.device import RuntimeTensor
from serving.session import OnnxModel, SessionConfig
from tests.fakes.calls import assert_alike, draw_calls, serve_together

PADDED_TOLERANCE = 1e-6
"""Of one step: a source that is padded sums zeros too, in another order."""
BOUND = SessionConfig(step_threads=1, io_binding=True)
PADDED = replace(BOUND, pad_to_buckets=True)


@pytest.fixture
def bound(exported) -> OnnxModel:
    return OnnxModel(exported.bundle, BOUND)


@pytest.fixture
def padded(exported) -> OnnxModel:
    return OnnxModel(exported.bundle, PADDED)


@pytest.mark.parametrize("seed", range(4))
def test_the_running_batch_gives_the_same_answers_exactly(exported, bound, seed):
    """The same runs of the same graphs, so there is nothing to tolerate."""
    calls = draw_calls(exported, seed)
    plain, found = serve_together(exported.model, calls), serve_together(bound, calls)
    assert found == plain
    for number, hypotheses in found.items():
        for one, other in zip(hypotheses, plain[number], strict=True):
            if calls.plans[number].options.attention:
                np.testing.assert_array_equal(one.attention, other.attention)


@pytest.mark.parametrize("seed", range(4))
def test_padding_changes_no_answer(exported, padded, seed):
    calls = draw_calls(exported, seed)
    plain, found = serve_together(exported.model, calls), serve_together(padded, calls)
    assert found.keys() == plain.keys()
    for number, hypotheses in found.items():
        assert_alike(hypotheses, plain[number], calls.plans[number].options)


def test_a_padded_step_gives_the_same_tokens_and_log_probs(exported, padded):
    """Three sources and five rows become four and eight, and the longest source a bucket."""
    special = exported.bundle.manifest.vocabulary
    sources = exported.sources[:3]
    parent = np.array([0, 0, 1, 2, 2])
    token = np.full(5, special.bos)
    ours, theirs = padded.encode(sources), exported.model.encode(sources)
    our_state, their_state = ours.state, theirs.state
    for turn in range(4):
        banned = np.full((5, turn), special.eos)
        inputs = StepInputs(token, parent, np.array([0, 0, 1, 2, 2]), banned, token.copy(), candidates=4)
        outputs, our_state = padded.step(inputs, ours.memory, our_state, attention=True)
        expected, their_state = exported.model.step(inputs, theirs.memory, their_state, attention=True)
        np.testing.assert_array_equal(outputs.candidate, expected.candidate)
        for name in ("log_prob", "query_log_prob", "attention"):
            np.testing.assert_allclose(getattr(outputs, name), getattr(expected, name), atol=PADDED_TOLERANCE)
        for name, tensor in their_state.items():
            np.testing.assert_allclose(on_host(our_state[name]), tensor, atol=1e-5)
        token, parent = expected.candidate[:, 0], np.array([1, 0, 2, 4, 3])


def test_memory_and_states_stay_where_they_are(exported, padded):
    encoded = padded.encode(exported.sources[:3])
    rows = np.arange(3)
    first = np.full(3, exported.bundle.manifest.vocabulary.bos)
    inputs = StepInputs(first, rows, rows, np.zeros((3, 0), np.int64), first, candidates=2)
    outputs, after = padded.step(inputs, encoded.memory, encoded.state)
    for tensor in (*encoded.memory.values(), *encoded.state.values(), *after.values()):
        assert isinstance(tensor, RuntimeTensor)
        assert (tensor.shape[0], tensor.value.shape()[0]) == (3, 4)
    width = encoded.memory["memory_mask"].value.shape()[1]
    assert width in exported.bundle.manifest.source_buckets
    assert isinstance(outputs.log_prob, np.ndarray)
    assert outputs.log_prob.shape == (3, 2)


@pytest.mark.parametrize("config", [BOUND, PADDED])
def test_an_ensemble_of_bound_models_is_that_of_plain_ones(translation, config):
    """Their sources differ in length, so that one member's memory is widened on the device."""
    first, second = OnnxModel(translation.bundle, config), OnnxModel(translation.bundle, config)
    calls = draw_calls(translation, 1)
    others = calls.sources[1:] + calls.sources[:1]
    sources = [
        replace(source, inputs=joint_inputs([source.inputs, other.inputs]))
        for source, other in zip(calls.sources, others, strict=True)
    ]
    calls = calls._replace(sources=sources)
    size = translation.bundle.manifest.vocabulary.size
    plain = Ensemble([Member(translation.model, 1.0), Member(translation.model, 2.0)], size, None)
    bound = Ensemble([Member(first, 1.0), Member(second, 2.0)], size, None)
    expected = serve_together(plain, calls)
    for number, found in serve_together(bound, calls).items():
        assert_alike(found, expected[number], calls.plans[number].options)


def test_points_of_an_ensemble_are_those_of_plain_ones(export_family):
    """The vocabulary is as wide as the sources are, not as wide as they were padded."""
    exported = export_family("pointing")
    calls = draw_calls(exported, 2)
    sources = [replace(source, inputs=joint_inputs([source.inputs] * 2)) for source in calls.sources]
    first_position = exported.bundle.manifest.vocabulary.first_position
    plain, padded = (
        Ensemble([Member(model, 1.0), Member(model, 1.0)], None, first_position)
        for model in (exported.model, OnnxModel(exported.bundle, PADDED))
    )
    calls = calls._replace(sources=sources)
    expected = serve_together(plain, calls)
    for number, found in serve_together(padded, calls).items():
        assert_alike(found, expected[number], calls.plans[number].options)


@pytest.mark.parametrize("config", [BOUND, PADDED])
def test_warming_up_makes_every_graph_that_moves_rows(exported, config):
    """A request that joins is not the first to need one."""
    model = OnnxModel(exported.bundle, config)
    model.warm_up()
    device = next(iter(model.encode(exported.sources[:1]).memory.values()))._device
    made = set(device._sessions)
    serve_together(model, draw_calls(exported, 3))
    assert set(device._sessions) == made


def test_a_padded_model_warms_up_in_every_shape_that_it_will_meet(translation):
    sources: set[tuple[int, int]] = set()
    rows: set[tuple[int, int]] = set()

    class Watched(OnnxModel):
        def encode(self, inputs):
            sources.add((len(inputs), len(inputs[0]["source_tokens"])))
            return super().encode(inputs)

        def step(self, inputs, memory, state, *, attention=False):
            rows.add((len(inputs.token), memory["memory_mask"].shape[1]))
            return super().step(inputs, memory, state, attention=attention)

    Watched(translation.bundle, replace(PADDED, batch_rows=12, encode_sources=3)).warm_up()
    buckets = translation.bundle.manifest.source_buckets
    assert sources == set(product([1, 2, 4], buckets))
    assert rows == set(product([1, 2, 4, 8, 16], buckets))
