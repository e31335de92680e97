"""Weights out of 8-bit bundles: those that went in, but for rounding."""

from pathlib import Path

import pytest
import torch

from export.certification.references_file import load_references
from export.certification.searching import best_answers
from export.errors import ExportError
from export.read_back import read_back, read_weights
from export.torch_model import TorchModel
from serving.bundle import load_bundle
from tests.parity.test_precisions import opened
from training.recipe import find_recipe
from training.run import load_run

SHIPPED = Path("models/translation-en-de/1")


def test_the_weights_of_a_bundle_are_those_of_its_run_but_for_rounding(translation, tmp_path):
    read = read_weights(opened(translation, tmp_path, "int8").bundle)
    trained = translation.run.model.state_dict()
    assert read.keys() == trained.keys()
    for name, weight in trained.items():
        # Half a step of 7 bits of the largest number of a row; biases of both directions have one scale.
        torch.testing.assert_close(read[name], weight, rtol=0, atol=float(weight.abs().max()) / 100, msg=name)


def test_a_run_read_back_answers_as_the_run_that_the_shipped_bundle_was_made_of(tmp_path):
    bundle = load_bundle(SHIPPED)
    read_back(bundle, tmp_path / "run", find_recipe(bundle.manifest.provenance.recipe))
    recorded = load_references(bundle)
    assert recorded is not None
    model = TorchModel(load_run(tmp_path / "run").model, bundle.manifest.graphs["int8"].encoder.inputs)
    answers = best_answers(bundle.manifest, model, recorded.sources[:10], 1)
    same = sum(answer.tokens == known.tokens for answer, known in zip(answers, recorded.greedy, strict=False))
    assert same >= 6  # of ten: rounded weights take another word now and then, wrong ones agree on none


def test_a_bundle_without_8_bits_is_refused(translation):
    with pytest.raises(ExportError, match="has no int8 graphs; allowed"):
        read_weights(translation.bundle)
