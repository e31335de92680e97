"""An export that goes wrong publishes nothing; what is there is replaced only when asked."""

import copy
import dataclasses

import numpy as np
import onnx
import pytest
import torch
import typer
from onnx import numpy_helper
from typer.testing import CliRunner

from export import pipeline
from export.certification import bounds
from export.command import export
from export.errors import ExportError, ParityError
from export.onnx_writer import Graphs
from export.pipeline import ExportSettings, export_run

FP32 = ("fp32",)
application = typer.Typer()
application.command()(export)


@pytest.fixture
def graphs_of(monkeypatch, translation):
    """Let the tracer return the graphs of the shared bundle, with the step's output bias raised at one token by `change`."""

    def use(change: float) -> None:
        def load(*ignored: object) -> Graphs:
            specs = translation.bundle.manifest.graphs["fp32"]
            encoder, step = (onnx.load(translation.bundle.path(spec)) for spec in (specs.encoder, specs.decoder_step))
            size = translation.bundle.manifest.vocabulary.size
            bias = next(i for i in step.graph.initializer if list(i.dims) == [size])
            values = numpy_helper.to_array(bias).copy()
            values[5] += change
            bias.CopyFrom(numpy_helper.from_array(values.astype(np.float32), bias.name))
            return Graphs(encoder, step)

        monkeypatch.setattr(pipeline, "trace_graphs", load)

    return use


def test_a_graph_with_another_weight_is_not_published(graphs_of, translation, tmp_path):
    graphs_of(0.3)
    with pytest.raises(ParityError, match="PyTorch has"):
        export_run(translation.run, ExportSettings(tmp_path, precisions=FP32, inputs=3), print)
    assert not list(tmp_path.iterdir())


def test_a_version_is_replaced_only_when_asked(graphs_of, translation, tmp_path, monkeypatch):
    graphs_of(0)
    settings = ExportSettings(tmp_path, name="toy", version="7", precisions=FP32, inputs=3)
    folder = export_run(translation.run, settings, print)
    (folder / "left-over").touch()
    with monkeypatch.context() as patch:
        patch.delattr(pipeline, "trace_graphs")  # it is refused before the minutes of work
        with pytest.raises(ExportError, match="is there already"):
            export_run(translation.run, settings, print)
    assert (folder / "left-over").exists()
    export_run(translation.run, dataclasses.replace(settings, replace=True), print)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "decoder_step.fp32.onnx",
        "encoder.fp32.onnx",
        "manifest.json",
        "references.npz",
        "source.model",
        "target.model",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_precision_that_does_not_pass_is_not_published(translation, tmp_path, monkeypatch):
    def biased(precision, *, traced, calibration, migration):
        """Quantise one token's bias to something far off, as a wrong scale would."""
        graphs = copy.deepcopy(traced)
        size = translation.bundle.manifest.vocabulary.size
        bias = next(i for i in graphs.decoder_step.graph.initializer if list(i.dims) == [size])
        values = numpy_helper.to_array(bias).copy()
        values[5] += 3
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        return graphs

    monkeypatch.setattr(pipeline, "graphs_in", biased)
    monkeypatch.setattr(
        bounds, "ROUNDED", bounds.ROUNDED._replace(margin=1e-6)
    )  # an untrained model prefers nothing by much
    with pytest.raises(ParityError, match=r"int8: greedy: an answer differs .* likelier; allowed: up to 1e-06"):
        export_run(translation.run, ExportSettings(tmp_path, precisions=("fp32", "int8"), inputs=3), print)
    assert not list(tmp_path.iterdir())


def test_the_command_says_in_one_sentence_why_it_stops(tmp_path):
    result = CliRunner().invoke(application, [str(tmp_path / "nowhere"), "--output", str(tmp_path / "models")])
    assert result.exit_code == 2
    assert "nowhere/recipe.yaml: missing" in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "models").exists()


def test_the_command_reports_what_it_published(graphs_of, translation, tmp_path):
    graphs_of(0)
    run = tmp_path / "run"
    run.mkdir()
    for name, path in translation.run.tokenizers.items():
        (run / name).write_bytes(path.read_bytes())
    recipe = translation.run.recipe.model_dump_json()
    (run / "recipe.yaml").write_text(recipe, encoding="utf-8")  # JSON is YAML
    torch.save({"model": translation.run.model.state_dict()}, run / "averaged.pt")
    result = CliRunner().invoke(
        application,
        [str(run), "--output", str(tmp_path / "models"), "--inputs", "3", "--precision", "fp32", "--threads", "1"],
    )
    assert result.exit_code == 0, result.output
    assert "translation, fp32" in result.output
    assert "100.0 % / 100.0 %" in result.output
    assert (tmp_path / "models/reverse/1/manifest.json").is_file()


def test_how_8_bits_are_made_is_the_recipe_s(translation, tmp_path, monkeypatch):
    recipe = translation.run.recipe
    other = recipe.model_copy(update={"export": recipe.export.model_copy(update={"migration": 0.25})})
    asked = []

    def stopping(precision, *, traced, calibration, migration):
        asked.append((precision, migration))
        raise ExportError("far enough")

    monkeypatch.setattr(pipeline, "graphs_in", stopping)
    settings = ExportSettings(tmp_path, precisions=("fp32", "int8"), inputs=3)
    with pytest.raises(ExportError, match="far enough"):
        export_run(dataclasses.replace(translation.run, recipe=other), settings, print)
    assert asked == [("int8", 0.25)]
