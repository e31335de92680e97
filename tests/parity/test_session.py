"""A bundle whose graph is not what its manifest says, or that ONNX Runtime cannot run as asked, stops at load."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from serving.bundle import MANIFEST_FILE, load_bundle, sha256_of
from serving.errors import BadBundle, BadConfiguration
from serving.manifest import TensorSpec
from serving.runtime.providers import CUDA, provider_options
from serving.session import OnnxModel, SessionConfig, pad_batch
from tests.fakes.bundles import seal

CUDA_OPTIONS = provider_options(CUDA, device_id=1, float16=False)


@pytest.fixture
def altered(translation, tmp_path):
    """Copy the shared bundle with its manifest changed, hashes made right again, and load it."""

    def alter(change) -> OnnxModel:
        folder = tmp_path / "altered"
        shutil.copytree(translation.bundle.folder, folder)
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        change(folder, manifest)
        for graph in manifest["graphs"]["fp32"].values():
            graph["sha256"] = sha256_of(folder / graph["file"])
        seal(folder, manifest)
        return OnnxModel(load_bundle(folder), SessionConfig())

    return alter


def test_an_input_of_another_name_is_refused(altered):
    def rename(folder, manifest):
        manifest["graphs"]["fp32"]["encoder"]["inputs"][0]["name"] = "tokens"

    with pytest.raises(
        BadBundle, match=r"encoder.fp32.onnx: its inputs .* source_tokens: .* only in the graph; tokens: "
    ):
        altered(rename)


def test_an_output_of_another_dtype_is_refused(altered):
    def retype(folder, manifest):
        manifest["graphs"]["fp32"]["decoder_step"]["outputs"][1]["dtype"] = "float32"

    with pytest.raises(
        BadBundle, match=r"decoder_step.fp32.onnx: its outputs .* candidate: int64\[\?, \?\] only in the graph"
    ):
        altered(retype)


def test_an_axis_said_to_be_fixed_that_is_free_is_refused(altered):
    def fix(folder, manifest):
        manifest["graphs"]["fp32"]["decoder_step"]["inputs"][0]["axes"] = [4]

    with pytest.raises(BadBundle, match=r"token: int64\[4\] only in the manifest"):
        altered(fix)


def test_a_file_that_is_no_graph_is_refused(altered):
    def scribble(folder, manifest):
        (folder / "decoder_step.fp32.onnx").write_bytes(b"not a graph")

    with pytest.raises(BadBundle, match=r"decoder_step.fp32.onnx: ONNX Runtime cannot load it"):
        altered(scribble)


def test_a_provider_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(
        BadConfiguration, match=r"asked for NoSuchProvider; this ONNX Runtime .* has .*CPUExecutionProvider"
    ):
        SessionConfig(providers=("NoSuchProvider",))


def test_other_providers_than_asked_for_are_refused_with_the_reason(translation, monkeypatch):
    """As onnxruntime-gpu does it where its libraries are not complete: the session opens, on the CPU."""
    opened = onnxruntime.InferenceSession

    def on_cpu(path, options, providers, enable_fallback):
        assert (providers, enable_fallback) == ([(CUDA, CUDA_OPTIONS)], 0)
        return opened(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", on_cpu)
    with pytest.raises(
        BadConfiguration,
        match=rf"asked for {CUDA}, CPU.*; ONNX Runtime gave CPU.*; reason: {CUDA}: .*providers_cuda.so is not there",
    ):
        OnnxModel(translation.bundle, SessionConfig(providers=(CUDA,), device_id=1, allow_uncertified=True))


def test_a_provider_that_fails_is_told_from_a_graph_that_does(translation, monkeypatch):
    opened = onnxruntime.InferenceSession

    def fail(path, options, providers, enable_fallback):
        if providers[0][0] == CUDA:
            raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version\nsource")
        return opened(path, options, providers=providers)

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    with pytest.raises(
        BadConfiguration, match=r"ONNX Runtime says CUDA failure 35: CUDA driver version is .* version;"
    ):
        OnnxModel(translation.bundle, SessionConfig(providers=(CUDA,), allow_uncertified=True))


def test_a_provider_that_runs_nothing_of_a_graph_is_refused(translation, monkeypatch, caplog):
    """A session may list a provider that took no node. Here it takes all of the encoder and nothing of the step."""

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, options, **_):
            super().__init__(path, options, providers=["CPUExecutionProvider"])
            self.encodes = path.name == "encoder.fp32.onnx"

        def get_providers(self):
            return [CUDA, "CPUExecutionProvider"]

        def get_provider_graph_assignment_info(self):
            subgraphs = super().get_provider_graph_assignment_info()
            name = CUDA if self.encodes else "CPUExecutionProvider"
            return [SimpleNamespace(ep_name=name, get_nodes=subgraph.get_nodes) for subgraph in subgraphs]

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    with (
        caplog.at_level("INFO"),
        pytest.raises(
            BadConfiguration, match=rf"decoder_step.fp32.onnx: asked for {CUDA}; all of its nodes are on CPU"
        ),
    ):
        OnnxModel(translation.bundle, SessionConfig(providers=(CUDA,), allow_uncertified=True))
    assert re.search(rf"encoder.fp32.onnx: \d+ nodes on {CUDA} \(\)", caplog.text)


def test_no_threads_are_refused():
    with pytest.raises(BadConfiguration, match="step_threads: 0; allowed: from 1"):
        SessionConfig(step_threads=0)


def test_token_ids_are_padded_with_pad_and_other_numbers_with_zero():
    tokens = TensorSpec(name="source_tokens", dtype="int64", axes=("N", "S"))
    padded = pad_batch([np.array([5, 6]), np.array([7])], tokens, pad=9)
    np.testing.assert_array_equal(padded, [[5, 6], [7, 9]])
    points = TensorSpec(name="points", dtype="float64", axes=("N", "S", 2))
    padded = pad_batch([np.ones((1, 2)), np.ones((2, 2))], points, pad=9)
    np.testing.assert_array_equal(padded, [[[1, 1], [0, 0]], [[1, 1], [1, 1]]])
    counts = TensorSpec(name="point_counts", dtype="int64", axes=("N",))
    np.testing.assert_array_equal(pad_batch([np.array(4), np.array(2)], counts, pad=9), [4, 2])
