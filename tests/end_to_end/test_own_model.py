"""A pair of graphs that any exporter wrote is served if it keeps the contract of docs/bundle.md; this one never saw torch."""

import json
import re

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from beamstep.cli import app
from beamstep.client import Client
from serving.bundle import MANIFEST_FILE, load_bundle
from serving.config import ServerConfig
from serving.errors import BadBundle, BadConfiguration
from serving.session import OnnxModel, SessionConfig
from tests.fakes.own_model import write_own_bundle
from tests.fakes.threads import ServerThread


@pytest.fixture
def folder(tmp_path):
    write_own_bundle(tmp_path / "nearest" / "1")
    return tmp_path / "nearest" / "1"


def verify(folder, *options):
    return CliRunner().invoke(app, ["verify", str(folder), *options])


def test_it_is_completed_certified_and_served(folder):
    done = verify(folder, "--seal", "--write", "--json")
    assert done.exit_code == 0, done.output
    (certificate,) = json.loads(done.stdout.splitlines()[-1])
    assert certificate["inputs"] == "random sources alone: no references to compare with"
    assert certificate["neighbours_error"] <= 1e-6
    assert certificate["tokens"] == []

    config = ServerConfig(folder.parents[1], host="127.0.0.1", port=0, session=SessionConfig(step_threads=1))
    with ServerThread(config, OnnxModel) as server, Client(server.address) as client:
        line = [(0.0, 0.0), (5.0, 0.0), (1.0, 0.0), (3.0, 0.1), (2.0, 0.0)]
        best = client.find_tour(line).hypotheses[0]
        assert list(best.point_indices) == [0, 2, 4, 3, 1]
        assert best.valid
        points = np.random.default_rng(4).random((20, 2))
        assert client.find_tour(points.tolist()).hypotheses[0].valid
        assert client.get_model("nearest").model.certificates[0].passed


def test_without_a_seal_it_is_refused_with_the_command_that_gives_one(folder):
    with pytest.raises(BadBundle, match=r"manifest.json: seal: missing; `beamstep verify --seal`"):
        load_bundle(folder)


def test_without_a_certificate_it_is_served_only_when_told_so(folder):
    assert verify(folder, "--seal").exit_code == 0
    with pytest.raises(
        BadConfiguration, match="has none that fp32 passed on CPUExecutionProvider; it has no certificates"
    ):
        OnnxModel(load_bundle(folder), SessionConfig())
    OnnxModel(load_bundle(folder), SessionConfig(allow_uncertified=True)).warm_up()


def alter(folder, change, name="decoder_step.onnx"):
    model = onnx.load(folder / name)
    change(model.graph)
    onnx.save(model, folder / name)


def rename(old, new):
    def change(graph):
        for value in (*graph.input, *graph.output):
            value.name = new if value.name == old else value.name
        for node in graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rename("token", "tokens"), "decoder_step.onnx: input token missing; it has banned, .*, tokens"),
        (rename("memory_mask", "memory.mask"), "decoder_step.onnx: input memory_mask missing"),
        (
            rename("state.count", "state.steps"),
            "decoder_step.onnx: state.steps are read, and the encoder does not give",
        ),
        (
            rename("next_state.count", "next_state.steps"),
            "state.count, state.steps must be inputs, and outputs with next_",
        ),
        (lambda graph: graph.output.pop(), "decoder_step.onnx: output attention missing"),
        (lambda graph: graph.node.pop(), "decoder_step.onnx: ONNX Runtime cannot load it"),
    ],
)
def test_what_breaks_the_contract_is_named(folder, change, said):
    alter(folder, change)
    done = verify(folder, "--seal")
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert re.search(said, " ".join(done.output.split())), done.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"graphs": None}, "manifest.json: TypeError"),
        ({"graphs": {}}, "manifest.json: graphs: "),
        ({"task": "juggling"}, "manifest.json: KeyError: 'juggling'"),
        ({"surprise": 1}, "manifest.json: surprise: "),
        (
            {"graphs": {"fp32": {"encoder": {"file": "no.onnx"}, "decoder_step": {"file": "no.onnx"}}}},
            "no.onnx: missing",
        ),
    ],
)
def test_a_manifest_written_wrongly_is_refused_in_one_line(folder, change, said):
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    done = verify(folder, "--seal")
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_rows_that_change_each_other_do_not_pass(folder):
    """As dynamic quantisation does it: one scale for all rows of the step."""

    def couple(graph):
        at = next(place for place, node in enumerate(graph.node) if node.op_type == "LogSoftmax")
        logits = graph.node[at].input[0]
        graph.node.insert(at, onnx.helper.make_node("ReduceMax", ["distance"], ["span"], keepdims=0))
        graph.node.insert(at + 1, onnx.helper.make_node("Div", [logits, "span"], ["scaled"]))
        graph.node[at + 2].input[0] = "scaled"

    alter(folder, couple)
    done = verify(folder, "--seal", "--write", "--json")
    assert done.exit_code == 1
    (certificate,) = json.loads(done.stdout.splitlines()[-1])
    assert "neighbours: other rows change a row's log-probs" in certificate["faults"][0]
    with pytest.raises(BadConfiguration, match=r"fp32 on CPUExecutionProvider \(failed\)"):
        OnnxModel(load_bundle(folder), SessionConfig())
