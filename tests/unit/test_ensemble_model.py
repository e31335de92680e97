"""An ensemble of trained models: its steps are the mean of its members', and it begins with the weights of their runs."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.fakes.architectures import ENSEMBLE, MEMBERS, model_config, untrained_model
from training.checkpoint import write_checkpoint
from training.config import RecipeError
from training.models.base import SequenceToSequence
from training.models.ensemble import EnsembleConfig
from training.start import StartConfig
from training.vocabulary import BOS, EOS, PAD

INPUTS = {
    "source_tokens": torch.tensor([[5, 6, 7, EOS], [4, EOS, PAD, PAD]]),
    "source_lengths": torch.tensor([4, 2]),
}
TARGET = torch.tensor([[4, 5, 6, EOS], [7, EOS, PAD, PAD]])


def log_probs(model: SequenceToSequence) -> torch.Tensor:
    return model(INPUTS, torch.arange(2), TARGET).log_softmax(-1)


def test_a_token_is_as_likely_as_the_members_say_in_the_geometric_mean() -> None:
    members = [log_probs(untrained_model(name)) for name in MEMBERS]
    expected = torch.stack(members).mean(0).log_softmax(-1)
    torch.testing.assert_close(log_probs(untrained_model(ENSEMBLE)), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(expected[..., EOS:], members[0][..., EOS:], atol=0.1)


def test_a_whole_target_scores_as_its_steps_do() -> None:
    model = untrained_model(ENSEMBLE)
    memory, state = model.encoder(INPUTS)
    names = set(state)
    at_once = model.decoder(TARGET, memory, state)
    token = torch.full((2,), BOS)
    for position in range(TARGET.shape[1]):
        logits, state, attention = model.decoder.step(token, memory, state)
        assert set(state) == names
        torch.testing.assert_close(logits, at_once[:, position], atol=1e-5, rtol=0)
        torch.testing.assert_close(attention.sum(-1), torch.ones(2))
        assert not attention[~memory.memory_mask].any()
        token = TARGET[:, position]


def test_one_member_is_no_ensemble() -> None:
    config = model_config(MEMBERS[0])
    with pytest.raises(ValidationError, match="at least 2 items"):
        EnsembleConfig(kind="ensemble", members=(config,))


def test_each_member_begins_with_the_weights_of_its_run(tmp_path: Path) -> None:
    for name, run in zip(MEMBERS, ("first", "second"), strict=True):
        write_checkpoint({"model": untrained_model(name).state_dict()}, tmp_path / run / "averaged.pt")
    ensemble = untrained_model(ENSEMBLE)
    expected = log_probs(ensemble)
    with torch.no_grad():
        for weights in ensemble.parameters():
            weights.zero_()
    taken = StartConfig(run=("first", "second")).take_weights(ensemble, tmp_path / "new")
    assert taken == sum(weights.numel() for weights in ensemble.parameters())
    assert torch.equal(log_probs(ensemble), expected)


def test_runs_and_members_must_be_as_many(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"start_from\.run: given 3 runs; allowed here: 2, as many as model\.members"):
        StartConfig(run=("a", "b", "c")).take_weights(untrained_model(ENSEMBLE), tmp_path / "new")
    with pytest.raises(RecipeError, match="given 2 runs; allowed here: one run's name, for the model is no ensemble"):
        StartConfig(run=("a", "b")).take_weights(untrained_model(MEMBERS[0]), tmp_path / "new")
    with pytest.raises(ValidationError, match="no run; allowed"):
        StartConfig(run=())


def test_runs_of_an_ensemble_share_their_tokenizers(tmp_path: Path) -> None:
    for run, pieces in (("first", b"pieces"), ("second", b"others")):
        (tmp_path / run).mkdir()
        (tmp_path / run / "averaged.pt").touch()
        (tmp_path / run / "target.model").write_bytes(pieces)
    start = StartConfig(run=("first", "second"), tokenizers=("target.model",))
    with pytest.raises(RecipeError, match=r"target\.model is not the same in .*first and .*second"):
        start.check(tmp_path / "new")
    (tmp_path / "second" / "target.model").write_bytes(b"pieces")
    start.check(tmp_path / "new")
