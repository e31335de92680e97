"""Every structure of image network inside both captioning models, on ONNX Runtime, against PyTorch."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from export.convolutions import FIRST_IN_FLOAT, quantise_convolutions
from export.onnx_writer import Graphs, signature, trace_graphs
from export.publish import write_graph_files
from export.sources import Source
from export.torch_model import TorchModel
from serving.bundle import Bundle
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.search import decode
from serving.decoding.step import StepInputs, Tensors
from serving.session import OnnxModel, SessionConfig
from tests.fakes.bundles import write_bundle
from tests.fakes.networks import SIDE, narrow_network, noise
from training.models.attention import AttentionKind
from training.models.base import SequenceToSequence
from training.models.captioning import CaptioningModelConfig
from training.vocabulary import BOS, EOS, PAD

TOLERANCE = 1e-3
"""Sums in another order differ by 1e-5 after the convolutions, and weights this large double that at every step, up to 6e-4."""
VOCABULARY_SIZE = 19
MAX_LENGTH = 12
SPECIAL = SpecialTokens(PAD, BOS, EOS)
PAIRS: list[tuple[str, AttentionKind]] = [
    ("basic", "dot"),
    ("bottleneck", "none"),
    ("bottleneck", "additive"),
    ("dense", "dot"),
    ("dense", "none"),
    ("mobile", "general"),
    ("mobile", "none"),
]
"""Each family in both models, one of them in 8 bits; a trace costs seconds, and attention is the same over any network."""


def captioner(network: str, attention: AttentionKind) -> SequenceToSequence:
    """A model whose weights are so large, and whose end so unlikely, that its words depend on the image and on each other."""
    looking = narrow_network(network)
    torch.manual_seed(7)
    config = CaptioningModelConfig(kind="captioning", attention=attention, embedding_size=10, hidden_size=14)
    model = config.around(looking, VOCABULARY_SIZE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "network" not in name:
                parameter.mul_(3 if parameter.ndim > 1 else 1).add_(torch.randn_like(parameter) * 0.4)
        model.get_parameter("decoder.output_bias")[EOS] -= 2
    return model.eval()


@dataclass(frozen=True)
class Pair:
    """One model on both sides."""

    model: SequenceToSequence
    graphs: Graphs
    torch: TorchModel
    onnx: OnnxModel


@pytest.fixture(scope="module")
def blank_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose graphs are none yet."""
    return write_bundle(tmp_path_factory.mktemp("models"), "captioning")


@pytest.fixture(scope="module", params=PAIRS, ids=", ".join)
def pair(request: pytest.FixtureRequest, blank_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Each network in each model, traced once."""
    torch.set_num_threads(1)
    model = captioner(*request.param)
    return traced(model, blank_bundle, tmp_path_factory.mktemp("graphs"))


def traced(model: SequenceToSequence, blank_bundle: Bundle, folder: Path) -> Pair:
    graphs = trace_graphs(model, "captioning", {"image": noise(3)})
    files = write_graph_files(folder, graphs)
    manifest = blank_bundle.manifest.model_copy(update={"graphs": {"fp32": files}})
    candidate = OnnxModel(Bundle(folder, manifest, manifest.model_dump_json()), SessionConfig(step_threads=1))
    return Pair(model, graphs, TorchModel(model, files.encoder.inputs), candidate)


def sources(count: int) -> list[Source]:
    return [{"image": image.numpy()} for image in noise(count, seed=count)]


def options(beam_size: int) -> DecodingOptions:
    return DecodingOptions(beam_size, MAX_LENGTH, VOCABULARY_SIZE, SPECIAL)


def assert_same(expected: Tensors, actual: Tensors) -> None:
    assert expected.keys() == actual.keys()
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype
        np.testing.assert_allclose(actual[name], tensor, atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("count", [1, 3])
def test_every_tensor_is_pytorchs(pair: Pair, count: int) -> None:
    images = sources(count)
    expected, actual = pair.torch.encode(images), pair.onnx.encode(images)
    assert_same(expected.memory | expected.state, actual.memory | actual.state)
    assert actual.memory["memory"].shape[:2] == (count, (SIDE // 32) ** 2)
    random = np.random.default_rng(count)
    states, source = (expected.state, actual.state), np.arange(count)
    for _ in range(3):
        parent = random.integers(0, len(source), 2 * count)
        source = source[parent]
        token, query = random.integers(EOS, VOCABULARY_SIZE, (2, len(parent)))
        step = StepInputs(token, parent, source, token[:, None], query, candidates=VOCABULARY_SIZE)
        outputs, expected_state = pair.torch.step(step, expected.memory, states[0], attention=True)
        answered, actual_state = pair.onnx.step(step, actual.memory, states[1], attention=True)
        allowed = np.isfinite(outputs.log_prob)
        np.testing.assert_array_equal(answered.candidate[allowed], outputs.candidate[allowed])
        for name in ("log_prob", "query_log_prob", "attention"):
            wanted, given = getattr(outputs, name), getattr(answered, name)
            np.testing.assert_allclose(given, wanted, atol=TOLERANCE, rtol=TOLERANCE)
        assert_same(expected_state, actual_state)
        states = expected_state, actual_state


@pytest.mark.parametrize("beam_size", [1, 5], ids=["greedy", "beam 5"])
def test_the_same_tokens_are_decoded_alone_and_beside_others(pair: Pair, beam_size: int) -> None:
    images = sources(3)
    expected = [found[0].tokens for found in decode(pair.torch, images, options(beam_size))]
    assert [found[0].tokens for found in decode(pair.onnx, images, options(beam_size))] == expected
    assert [decode(pair.onnx, [image], options(beam_size))[0][0].tokens for image in images] == expected
    assert len(set(expected)) > 1, "an image has an answer of its own"
    assert len({token for tokens in expected for token in tokens}) > 2, "words depend on what was seen and said"


def test_no_normalisation_is_left_in_the_graph(pair: Pair) -> None:
    operators = Counter(node.op_type for node in pair.graphs.encoder.graph.node)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in pair.model.encoder.modules())
    assert operators["Conv"] == convolutions
    assert not operators["BatchNormalization"]


def test_the_image_axis_is_free_in_every_graph(pair: Pair) -> None:
    (image,) = signature(pair.graphs.encoder.graph.input)
    assert image.axes == ("N", SIDE, SIDE, 3)
    assert {value.axes[0] for value in signature(pair.graphs.encoder.graph.output)} == {"N"}


def test_a_network_computes_in_integers_and_sees_nearly_the_same(pair: Pair) -> None:
    images = sources(4)
    feeds = [{"image": np.stack([image["image"] for image in images])}]
    integers = quantise_convolutions(pair.graphs.encoder, feeds)
    weights = [tensor for tensor in integers.graph.initializer if len(tensor.dims) == 4]
    convolutions = [node for node in pair.graphs.encoder.graph.node if node.op_type == "Conv"]
    in_float = [tensor for tensor in weights if tensor.data_type == onnx.TensorProto.FLOAT]
    assert len(weights) == len(convolutions)
    assert len(in_float) == FIRST_IN_FLOAT
    session = onnxruntime.InferenceSession(integers.SerializeToString(), providers=["CPUExecutionProvider"])
    (hidden,) = session.run(["state.hidden"], feeds[0])
    (alone,) = session.run(["state.hidden"], {"image": feeds[0]["image"][:1]})
    np.testing.assert_allclose(alone[0], hidden[0], atol=1e-6)
    wanted = pair.torch.encode(images).state["state.hidden"]
    # Random weights make much of little: a narrow MobileNetV2 is worst, at 0.85. A wrong scale leaves nothing.
    assert np.corrcoef(hidden.ravel(), wanted.ravel())[0, 1] > 0.8
