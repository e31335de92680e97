"""Beginning a run with another run's weights and tokenizers."""

from pathlib import Path

import pytest
import torch

from training.checkpoint import write_checkpoint
from training.config import RecipeError
from training.models.base import SequenceToSequence
from training.models.translation import TranslationDecoder, TranslationEncoder, TranslationModelConfig
from training.start import StartConfig


def model_of(vocabulary: int, seed: int) -> SequenceToSequence:
    torch.manual_seed(seed)
    sizes = {"embedding_size": 8, "encoder_size": 8, "hidden_size": 16}
    config = TranslationModelConfig.model_validate({"kind": "translation", **sizes})
    return SequenceToSequence(TranslationEncoder(config, 9), TranslationDecoder(config, vocabulary))


@pytest.fixture
def earlier(tmp_path: Path) -> SequenceToSequence:
    model = model_of(12, seed=1)
    write_checkpoint({"model": model.state_dict()}, tmp_path / "earlier" / "averaged.pt")
    (tmp_path / "earlier" / "source.model").write_bytes(b"pieces")
    (tmp_path / "new").mkdir()
    return model


def test_all_weights_are_taken_where_no_part_is_named(tmp_path: Path, earlier: SequenceToSequence) -> None:
    new = model_of(12, seed=2)
    taken = StartConfig(run="earlier").take_weights(new, tmp_path / "new")
    assert taken == sum(tensor.numel() for tensor in earlier.state_dict().values())
    for name, tensor in earlier.state_dict().items():
        assert torch.equal(new.state_dict()[name], tensor), name


def test_parts_leave_the_other_weights_alone(tmp_path: Path, earlier: SequenceToSequence) -> None:
    new, fresh = model_of(20, seed=2), model_of(20, seed=2)
    StartConfig(run="earlier", parts=("encoder",)).take_weights(new, tmp_path / "new")
    for name, tensor in new.state_dict().items():
        origin = earlier if name.startswith("encoder") else fresh
        assert torch.equal(tensor, origin.state_dict()[name]), name


def test_tokenizers_come_along(tmp_path: Path, earlier: SequenceToSequence) -> None:
    StartConfig(run="earlier", tokenizers=("source.model",)).take_tokenizers(tmp_path / "new")
    assert (tmp_path / "new" / "source.model").read_bytes() == b"pieces"
    with pytest.raises(RecipeError, match=r"has no target\.model"):
        StartConfig(run="earlier", tokenizers=("target.model",)).take_tokenizers(tmp_path / "new")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"run": "nobody"}, r"holds no finished run; allowed: first `beamstep train nobody"),
        ({"run": "earlier", "parts": ("head",)}, r"given 'head', which no weight's name begins with"),
        ({"run": "earlier"}, r"decoder\.output_bias is \(20,\) here and \(12,\) in earlier"),
    ],
)
def test_what_cannot_be_taken_is_named(
    tmp_path: Path, earlier: SequenceToSequence, start: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        StartConfig.model_validate(start).take_weights(model_of(20, seed=2), tmp_path / "new")
