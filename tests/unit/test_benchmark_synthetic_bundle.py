"""The synthetic bundle is a bundle like any other, whose model never ends an answer."""

import pytest
import torch

from benchmarks.bare_loop import BareLoop
from benchmarks.synthetic_bundle import random_model, write_synthetic
from benchmarks.workload import Workload
from export.errors import ExportError
from serving.decoding.search import decode
from training.vocabulary import BOS, EOS


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    folder = write_synthetic(models, tmp_path_factory.mktemp("scratch"), 8, 4, 400)
    return models, folder


def test_it_decodes_to_exactly_the_length_asked_for(written):
    bare = BareLoop(written[1])
    requests = Workload(bare.task, ends=False).requests([5, 9])
    prepared = [bare.prepare(request) for request in requests]
    answers = decode(bare.model, [one.inputs for one in prepared], [one.options for one in prepared])
    assert [len(hypotheses[0].tokens) for hypotheses in answers] == [5, 9]
    assert all(EOS not in hypothesis.tokens for hypotheses in answers for hypothesis in hypotheses)
    assert bare.seconds(prepared) > 0


def test_one_that_is_there_is_not_replaced_unasked(written, tmp_path):
    with pytest.raises(ExportError, match="is there already"):
        write_synthetic(written[0], tmp_path, 8, 4, 400)


def test_its_model_is_out_of_reach_of_the_end():
    model = random_model(8, 4, 50)
    memory, state = model.encoder({"source_tokens": torch.tensor([[5, 6, 2]]), "source_lengths": torch.tensor([3])})
    with torch.inference_mode():
        logits, _, _ = model.decoder.step(torch.tensor([BOS]), memory, state)
    assert logits[0, EOS] < logits[0, EOS + 1 :].min() - 90
