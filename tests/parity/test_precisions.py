"""8-bit and float16 graphs of every family: rows alone and beside others, and how near they are to float32."""

import numpy as np
import onnx
import pytest

from export.calibration import Recorder
from export.certification.neighbours import measure_influence
from export.certification.searching import best_answers
from export.onnx_writer import Graphs
from export.precisions import graphs_in
from export.publish import write_graph_files
from export.rewriting import SMALLEST
from serving.bundle import Bundle
from serving.session import OnnxModel, SessionConfig


def opened(exported, folder, precision):
    """The family's bundle with its graphs in another precision beside fp32, opened."""
    bundle = exported.bundle
    manifest = bundle.manifest
    recorder = Recorder(exported.model)
    best_answers(manifest, recorder, exported.sources, 2)
    pair = manifest.graphs["fp32"]
    traced = Graphs(onnx.load(bundle.path(pair.encoder)), onnx.load(bundle.path(pair.decoder_step)))
    files = write_graph_files(folder, graphs_in(precision, traced, recorder.calibration()), precision)
    graphs = {precision: files}
    changed = manifest.model_copy(update={"graphs": graphs, "certificates": ()})
    config = SessionConfig(precision=precision, step_threads=1, allow_uncertified=True)
    return OnnxModel(Bundle(folder, changed, ""), config)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_encodings_are_near_those_of_float32(exported, tmp_path, precision):
    model = opened(exported, tmp_path, precision)
    wanted, got = exported.model.encode(exported.sources), model.encode(exported.sources)
    for name, tensor in wanted.memory.items():
        if tensor.dtype == np.float32:
            error = np.abs(got.memory[name] - tensor).mean() / np.abs(tensor).mean()
            assert error < (0.2 if precision == "int8" else 0.01), name


def test_no_row_in_8_bits_feels_the_rows_beside_it(exported, tmp_path):
    model = opened(exported, tmp_path, "int8")
    assert measure_influence(model.bundle.manifest, model, exported.sources).of_rows <= 1e-6


def test_8_bits_are_stored_in_one_byte_each(exported, tmp_path):
    model = opened(exported, tmp_path, "int8")
    both_directions = 2 * SMALLEST  # two matrices that are too small may stand in one tensor
    for spec in (model.bundle.manifest.graphs["int8"].encoder, model.bundle.manifest.graphs["int8"].decoder_step):
        graph = onnx.load(model.bundle.path(spec)).graph
        floats = [
            i for i in graph.initializer if i.data_type == onnx.TensorProto.FLOAT and np.prod(i.dims) >= both_directions
        ]
        assert not [tensor.name for tensor in floats if len(tensor.dims) > 1 and min(tensor.dims) > 1]
