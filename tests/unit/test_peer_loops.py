"""The other sides of the tables: they compute with the served weights, search as we do, and their work is counted right."""

import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from beamstep.bench.prepared import TRANSLATE
from beamstep.v1.translation_pb2 import TranslateTextRequest, TranslateTextResponse
from benchmarks.peers import numpy_beams
from benchmarks.peers.float_graphs import float_graph, logits_step
from benchmarks.peers.floors import Shape
from benchmarks.peers.geometry import timed, tour_length
from benchmarks.peers.loop_server import methods_of
from benchmarks.peers.plain_server import HEALTH, SERVING, handlers_of
from benchmarks.peers.products_count import multiply_adds
from benchmarks.peers.pytorch import installed_mebibytes
from benchmarks.peers.scaling import cost, price_of_a_million
from benchmarks.peers.table import NotMeasuredError
from serving.bundle import load_bundle
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.session import OnnxModel, SessionConfig
from tests.fakes.bundles import write_bundle
from tests.fakes.markov import SPECIAL, MarkovModel, random_table, source

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def translator():
    """The shipped bundle, loaded."""
    return OnnxModel(load_bundle(MODELS / "translation-en-de" / "1"), SessionConfig(step_threads=1))


@pytest.mark.parametrize("seed", [1, 2, 5])
@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_numpy_search_finds_what_ours_finds(seed, beam_size):
    tables = np.stack([random_table(2 * seed, 7), random_table(2 * seed + 1, 7)])
    options = DecodingOptions(beam_size, 8, 7, SPECIAL, length_penalty=0.8)
    ours = decode(MarkovModel(tables), [source(0), source(1)], [options, options])
    wanted = [[token for token in found[0].tokens if token != SPECIAL.eos] for found in ours]

    def step(token, state):
        return tables[state["chain"], state["before"], token], {"chain": state["chain"], "before": token}

    rows = np.repeat([0, 1], beam_size)
    state = {"chain": rows, "before": np.full_like(rows, SPECIAL.bos)}
    found = numpy_beams.search(step, state, 2, beam_size=beam_size, longest=9, length_penalty=0.8)
    assert found == wanted


def test_the_exported_step_has_the_served_weights_in_float32(translator):
    step = logits_step(onnx.load(MODELS / "translation-en-de" / "1" / "decoder_step.int8.onnx"))
    assert not any(node.op_type == "MatMulIntegerToFloat" for node in step.graph.node)
    shape = Shape(translator, 2, 9, beam_size=1)
    feeds = shape.feeds()
    names = [value.name for value in step.graph.input]
    session = onnxruntime.InferenceSession(step.SerializeToString(), providers=["CPUExecutionProvider"])
    logits, *_ = session.run(["logits"], {name: feeds[name] for name in names})
    outputs, _ = shape.step(translator)
    best = np.take_along_axis(numpy_beams.log_softmax(logits), outputs.candidate, 1)
    assert best == pytest.approx(outputs.log_prob, abs=0.5)


def test_the_exported_encoder_remembers_what_the_served_one_does(translator):
    encoder = float_graph(onnx.load(MODELS / "translation-en-de" / "1" / "encoder.int8.onnx"))
    feeds = {"source_tokens": np.array([[20, 30, 40, 2]]), "source_lengths": np.array([4])}
    session = onnxruntime.InferenceSession(encoder.SerializeToString(), providers=["CPUExecutionProvider"])
    memory, *_ = session.run(["memory"], feeds)
    served = translator.encode([{"source_tokens": feeds["source_tokens"][0], "source_lengths": np.array(4)}])
    assert memory == pytest.approx(served.memory["memory"], abs=0.3)


def test_multiply_adds_are_counted_of_what_was_run(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["R", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Transpose", ["h"], ["turned"]),
        helper.make_node("MatMul", ["h", "turned"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.ones((4, 8), np.float32), "w")]
    graph = helper.make_graph(nodes, "graph", [x], [y], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "graph.onnx"
    )
    counted = multiply_adds(tmp_path / "graph.onnx", {"x": np.ones((3, 4), np.float32)})
    assert counted == (0, 3 * 4 * 8 + 3 * 8 * 3)


def test_a_shipped_step_multiplies_mostly_in_8_bits_and_in_proportion_to_its_rows(translator):
    step = MODELS / "translation-en-de" / "1" / "decoder_step.int8.onnx"
    one, four = (multiply_adds(step, Shape(translator, sources, 9).feeds()) for sources in (1, 4))
    assert four.integer == 4 * one.integer
    assert four.floating == 4 * one.floating
    assert one.integer > 10 * one.floating > 0


async def test_a_loop_behind_the_plain_server_answers_in_our_protos(tmp_path):
    bundle = write_bundle(tmp_path, "translation")
    asked = []

    def search(batch):
        asked.append((batch.beam_size, len(batch.inputs)))
        return [[5, 6]] * len(batch.inputs)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers_of(methods_of(bundle, search), 4),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary(HEALTH)(b"") == SERVING
        request = TranslateTextRequest(text="a dog")
        request.options.beam_size = 3
        answer = TranslateTextResponse.FromString(await channel.unary_unary(TRANSLATE)(request.SerializeToString()))
    await server.stop(None)
    assert asked == [(3, 1)]
    assert [token.id for token in answer.hypotheses[0].decoding.tokens] == [5, 6, bundle.manifest.vocabulary.eos]


def test_what_is_installed_counts_what_is_needed():
    assert 0 < installed_mebibytes(["protobuf"]) < installed_mebibytes(["protobuf", "onnxruntime"])
    assert installed_mebibytes(["beamstep"]) < installed_mebibytes(["beamstep[cpu]"])
    with pytest.raises(NotMeasuredError, match="no-such-thing is not installed"):
        installed_mebibytes(["no-such-thing"])


def test_a_million_sentences_cost_their_hours():
    assert price_of_a_million(0.36, 100) == pytest.approx(1.0)
    assert next(iter(cost({"a": {"answers/s": 50.0}, "b": {"answers/s": 100.0}}))).endswith("0.278")
    assert list(cost({"a": {"answers/s": 0.0}})) == []


def test_tours_are_closed_and_timing_ends_with_the_sets():
    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    assert tour_length(square, [0, 1, 2, 3]) == pytest.approx(4)
    assert timed([square] * 3, 60, len)[1] == [4, 4, 4]
    assert timed([square] * 3, 0, len)[1] == [4]


def test_what_measures_holds_no_torch():
    look = "import sys, benchmarks.peers.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=MODELS.parent, check=False).returncode == 0
