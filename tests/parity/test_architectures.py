"""Every architecture, exported and run on ONNX Runtime, against PyTorch: tensors at ragged shapes, and what is decoded."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from export.onnx_writer import trace_graphs
from export.publish import write_graph_files
from export.sources import Source, example_batch, random_source
from export.torch_model import TorchModel
from serving.bundle import Bundle
from serving.decoding.bans import NoRepeatedNgram
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.search import decode
from serving.decoding.step import Encoded, IntArray, StepInputs, StepOutputs, Tensors
from serving.manifest import TaskName
from serving.running import Admission, RunningBatch
from serving.session import OnnxModel, SessionConfig
from tests.fakes.architectures import (
    ARCHITECTURES,
    ENSEMBLE,
    OTHERS,
    POINTERS,
    SOURCES,
    TARGETS,
    untrained_model,
    untrained_pointer,
)
from tests.fakes.bundles import write_bundle
from training.vocabulary import BOS, EOS, FIRST_POSITION, PAD

TOLERANCE = 2e-5
"""Sums of some 20 products in another order, through three layers and five steps of weights that double what differs."""
RAGGED = ([1], [6, 2, 9], [4, 4], [3, 1, 1, 20, 7])
MAX_LENGTH = 12
SPECIAL = SpecialTokens(PAD, BOS, EOS)
ONCE = NoRepeatedNgram(1, PAD)
"""Untrained models like to say one token for ever, which would tell little of the states."""


@dataclass(frozen=True)
class Pair:
    """One model on both sides."""

    task: TaskName
    torch: TorchModel
    onnx: OnnxModel

    def sources(self, *lengths: int) -> list[Source]:
        known = [{"source_tokens": np.arange(EOS, SOURCES)}]
        return [random_source(self.task, np.random.default_rng(length), length, known) for length in lengths]

    def width(self, source_length: int) -> int:
        """How many tokens there are beside a source of this length."""
        return TARGETS if self.task == "translation" else FIRST_POSITION + source_length

    def options(self, source_length: int, beam_size: int) -> DecodingOptions:
        width = self.width(source_length)
        return DecodingOptions(
            beam_size, MAX_LENGTH, width, SPECIAL, hypothesis_count=beam_size, min_length=min(source_length, 6)
        )


@pytest.fixture(scope="module")
def blank_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[TaskName, Bundle]:
    """Bundles whose graphs are none yet."""
    folder = tmp_path_factory.mktemp("models")
    return {task: write_bundle(folder, task) for task in ("translation", "convex_hull")}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Products as small as these take a second thread forty times as long where another process has its core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trace(blank_bundles: dict[TaskName, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Trace an architecture, the first time it is asked for: that takes seconds."""

    @functools.cache
    def traced(name: str) -> Pair:
        pointing = name in POINTERS
        task: TaskName = "convex_hull" if pointing else "translation"
        model = untrained_pointer(name) if pointing else untrained_model(name)
        example = example_batch(task, [{"source_tokens": np.arange(EOS, SOURCES)}])
        folder = tmp_path_factory.mktemp("graphs")
        graphs = write_graph_files(folder, trace_graphs(model, task, example))
        manifest = blank_bundles[task].manifest.model_copy(update={"graphs": {"fp32": graphs}})
        candidate = OnnxModel(Bundle(folder, manifest, manifest.model_dump_json()), SessionConfig(step_threads=1))
        return Pair(task, TorchModel(model, graphs.encoder.inputs), candidate)

    return traced


@pytest.fixture(scope="module", params=[*ARCHITECTURES, *OTHERS, ENSEMBLE, *POINTERS])
def pair(request: pytest.FixtureRequest, trace: Callable[[str], Pair]) -> Pair:
    """Each architecture in turn."""
    return trace(request.param)


def both(encoded: Encoded) -> Tensors:
    return encoded.memory | encoded.state


def assert_same(expected: Tensors, actual: Tensors) -> None:
    assert expected.keys() == actual.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype
        np.testing.assert_allclose(actual[name], tensor, atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)


def said(outputs: StepOutputs) -> Tensors:
    """What a step says, the log-probs (R, V) by token id, so that ties in another order are no difference."""
    assert outputs.attention is not None
    by_token = np.take_along_axis(outputs.log_prob, outputs.candidate.argsort(1), 1)
    return {"log_prob": by_token, "query_log_prob": outputs.query_log_prob, "attention": outputs.attention}


def random_step(random: np.random.Generator, of: IntArray, widths: IntArray) -> StepInputs:
    """Rows that repeat and drop the incoming ones at random, each with a token, bans and a question of its own.

    Args:
        random: draws all of it.
        of: (Q,), the source of each incoming row.
        widths: (N,), how many tokens there are beside each source.
    """
    parent = random.integers(0, len(of), int(random.integers(1, 2 * len(widths) + 1)))
    source = of[parent]
    highest = widths[source]
    banned = random.integers(0, highest[:, None], (len(parent), int(random.integers(0, 3))))
    token, query = random.integers(EOS + 1, highest), random.integers(EOS, highest)
    return StepInputs(token, parent, source, banned, query, candidates=int(widths.max()))


@pytest.mark.parametrize("lengths", RAGGED, ids=str)
def test_every_tensor_is_pytorchs(pair: Pair, lengths: list[int]) -> None:
    sources = pair.sources(*lengths)
    expected, actual = pair.torch.encode(sources), pair.onnx.encode(sources)
    assert_same(both(expected), both(actual))
    random = np.random.default_rng(lengths)
    widths = np.array([pair.width(length) for length in lengths])
    states, of = (expected.state, actual.state), np.arange(len(sources))
    for _ in range(5):
        step = random_step(random, of, widths)
        of = step.source
        outputs, expected_state = pair.torch.step(step, expected.memory, states[0], attention=True)
        answered, actual_state = pair.onnx.step(step, actual.memory, states[1], attention=True)
        assert_same(said(outputs), said(answered))
        assert_same(expected_state, actual_state)
        states = expected_state, actual_state


def test_a_padded_source_has_the_numbers_it_has_alone(pair: Pair) -> None:
    lengths = (3, 1, 14)
    sources = pair.sources(*lengths)
    together = pair.onnx.encode(sources)
    rows, none = np.arange(3), np.zeros((3, 0), np.int64)
    step = StepInputs(np.full(3, BOS), rows, rows, none, np.full(3, EOS), candidates=3)
    outputs, states = pair.onnx.step(step, together.memory, together.state, attention=True)
    assert outputs.attention is not None
    for place, (source, length) in enumerate(zip(sources, lengths, strict=True)):
        encoded = pair.onnx.encode([source])
        assert_same({name: tensor[[place], :length] for name, tensor in together.memory.items()}, encoded.memory)
        zero = np.zeros(1, np.int64)
        first = StepInputs(zero + BOS, zero, zero, none[:1], zero + EOS, candidates=3)
        alone, state = pair.onnx.step(first, encoded.memory, encoded.state, attention=True)
        assert_same({name: tensor[[place]] for name, tensor in states.items()}, state)
        assert alone.attention is not None
        np.testing.assert_allclose(alone.attention[0], outputs.attention[place, :length], atol=TOLERANCE)
        np.testing.assert_allclose(alone.log_prob[0], outputs.log_prob[place], rtol=TOLERANCE)
        np.testing.assert_array_equal(alone.candidate[0], outputs.candidate[place])


@pytest.mark.parametrize("beam_size", [1, 5], ids=["greedy", "beam 5"])
def test_the_same_tokens_are_decoded_alone_and_beside_others(pair: Pair, beam_size: int) -> None:
    lengths = (5, 12, 3, 8)
    sources = pair.sources(*lengths)
    options = [pair.options(length, beam_size) for length in lengths]
    once = [ONCE] * len(sources)
    expected = [tokens_of(found) for found in decode(pair.torch, sources, options, once)]
    assert [tokens_of(found) for found in decode(pair.onnx, sources, options, once)] == expected
    alone = [decode(pair.onnx, [source], option, [ONCE])[0] for source, option in zip(sources, options, strict=True)]
    assert [tokens_of(found) for found in alone] == expected
    assert len(set(expected)) > 1, "sources have answers of their own"


def tokens_of(found: tuple[Hypothesis, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(hypothesis.tokens for hypothesis in found)


def test_who_joins_a_running_batch_brings_its_keys_and_the_states_of_every_layer(
    trace: Callable[[str], Pair],
) -> None:
    pair = trace("gru_reset_after, additive")
    assert set(pair.onnx.encode(pair.sources(3)).memory) == {"memory", "memory_mask", "memory.keys"}
    lengths = (4, 9, 2)
    sources, options = pair.sources(*lengths), [pair.options(length, 3) for length in lengths]
    batch = RunningBatch(pair.onnx, SPECIAL)
    together = {}
    for number, source in enumerate(sources):
        batch.admit([Admission(number, options[number], ONCE)], pair.onnx.encode([source]))
        together |= {over.request: over.hypotheses for over in batch.step()}
    while batch.request_count:
        together |= {over.request: over.hypotheses for over in batch.step()}
    for number, source in enumerate(sources):
        assert tokens_of(together[number]) == tokens_of(decode(pair.torch, [source], options[number], [ONCE])[0])
