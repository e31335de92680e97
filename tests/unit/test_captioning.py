"""Captioning: captions as compared, batches that share images, and the attentive decoder."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from export.evaluation import caption_metrics as evaluation
from training.config import RecipeError
from training.evaluate_captioning import caption_validation
from training.models.attention import attend
from training.models.base import Memory
from training.models.captioning import (
    CaptioningDecoder,
    CaptioningEncoder,
    CaptioningModelConfig,
    SharedDropout,
    attend_all,
)
from training.models.mobilenet import WEIGHT_FILE, MobileNetV2, MobileNetV2Classifier
from training.problems.captioning import (
    CaptioningConfig,
    CaptioningProblem,
    Photos,
    make_batch,
    normalise_caption,
    read_captions,
    score_captions,
)
from training.vocabulary import BOS, EOS, PAD

VOCABULARY_SIZE = 11
SMALL = CaptioningModelConfig(kind="captioning", embedding_size=6, hidden_size=8, dropout=0.5)
TARGET = torch.tensor([[4, 5, EOS, PAD], [6, EOS, PAD, PAD], [7, 8, 9, EOS]])


def small_memory(rows=3, cells=5):
    memory = torch.randn(rows, cells, 8)
    mask = torch.ones(rows, cells, dtype=torch.bool)
    mask[0, 3:] = False
    return Memory(memory, mask, {})


def small_state(rows=3):
    return {"hidden": torch.randn(rows, 8), "cell": torch.randn(rows, 8), "image": torch.randn(rows, 32)}


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return CaptioningDecoder(SMALL, VOCABULARY_SIZE).eval()


def random_photos(image_count=5, view_count=2):
    """Five images of which the third has no caption; features that tell the image and the view."""
    captions = [[[3 + image, EOS], [3 + image, 9, EOS]] for image in range(image_count)]
    captions[2] = []
    features = np.zeros((view_count, image_count, 49, 1280), np.float16)
    features += np.arange(image_count)[None, :, None, None] + 100 * np.arange(view_count)[:, None, None, None]
    return Photos(captions, list(features), captions, features[0], [], images_per_batch=2)


def problem_of(photos, seed=1):
    return CaptioningProblem(None, None, photos, seed)


# Captions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Dog runs .", "a dog runs"),
        ('The man says " hello , you " !', "the man says hello you"),
        ("A tri-colored dog on a man 's lap.", "a tri-colored dog on a man 's lap"),
        (" . ", ""),
    ],
)
def test_captions_are_lower_case_words_without_punctuation(text, expected):
    assert normalise_caption(text) == expected


def write_captions(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")


def test_only_the_split_asked_for_is_read(tmp_path):
    file = tmp_path / "captions.jsonl"
    entries = [{"image": f"{split}.jpg", "split": split, "captions": ["A dog .", "."]} for split in ("train", "test")]
    write_captions(file, entries)
    (image,) = read_captions(file, tmp_path / "images", "train")
    assert image.path == tmp_path / "images" / "train.jpg"
    assert image.captions == ("a dog",)


def test_a_line_of_another_form_is_named(tmp_path):
    file = tmp_path / "captions.jsonl"
    write_captions(file, [{"image": "a.jpg", "split": "train", "captions": ["a"]}, {"image": "b.jpg"}])
    with pytest.raises(RecipeError, match="line 2"):
        read_captions(file, tmp_path, "train")
    with pytest.raises(RecipeError, match="nowhere"):
        read_captions(tmp_path / "nowhere", tmp_path, "train")


# Batches


def test_captions_of_a_batch_share_their_image():
    batch = make_batch(np.zeros((2, 49, 1280), np.float16), [[[5, EOS], [6, 7, EOS]], [[8, EOS]]])
    assert batch.inputs["features"].shape == (2, 49, 1280)
    assert batch.source.tolist() == [0, 0, 1]
    assert batch.target.tolist() == [[5, EOS, PAD], [6, 7, EOS], [8, EOS, PAD]]


def test_an_epoch_shows_every_captioned_image_once_with_all_its_captions():
    batches = list(problem_of(random_photos()).training_batches(0))
    shown = [int(image) % 100 for batch in batches for image in batch.inputs["features"][:, 0, 0]]
    assert sorted(shown) == [0, 1, 3, 4]
    for batch in batches:
        images = batch.inputs["features"][:, 0, 0][batch.source].int() % 100
        assert batch.target[:, 0].tolist() == (images + 3).tolist()
        assert torch.bincount(batch.source).tolist() == [2] * len(batch.inputs["features"])


def test_epochs_reproduce_by_seed_and_differ_from_each_other():
    def shown(epoch, seed=1):
        batches = problem_of(random_photos(), seed).training_batches(epoch)
        return [batch.inputs["features"][:, 0, 0].tolist() for batch in batches]

    assert shown(3) == shown(3)
    epochs = [shown(epoch) for epoch in range(6)]
    assert any(epoch != epochs[0] for epoch in epochs)
    assert any(shown(0, seed) != epochs[0] for seed in range(2, 6))
    views = {int(value) // 100 for epoch in epochs for batch in epoch for value in batch}
    assert views == {0, 1}


def test_validation_batches_keep_the_order_and_the_plain_view():
    problem = problem_of(random_photos())
    for _ in range(2):
        batches = list(problem.validation_batches())
        assert [batch.inputs["features"][:, 0, 0].tolist() for batch in batches] == [[0, 1], [2, 3], [4]]


def test_batches_need_data():
    with pytest.raises(RecipeError, match="data"):
        next(problem_of(None).training_batches(0))


# The model


def test_a_whole_target_scores_as_stepping_through_it(decoder):
    memory, state = small_memory(), small_state()
    whole = decoder(TARGET, memory, state)
    assert whole.shape == (3, 4, VOCABULARY_SIZE)
    token = torch.full((3,), BOS)
    for at in range(4):
        logits, state, attention = decoder.step(token, memory, state)
        real = TARGET[:, at] != PAD
        torch.testing.assert_close(logits[real], whole[real, at])
        torch.testing.assert_close(attention.sum(1), torch.ones(3))
        token = TARGET[:, at]


def test_further_padding_changes_nothing(decoder):
    memory, state = small_memory(), small_state()
    longer = torch.nn.functional.pad(TARGET, (0, 3), value=PAD)
    torch.testing.assert_close(decoder(longer, memory, state)[:, :4], decoder(TARGET, memory, state))


def test_neighbours_change_nothing(decoder):
    memory, state = small_memory(), small_state()
    alone = decoder(TARGET[1:2], memory.take(torch.tensor([1])), {name: tensor[1:2] for name, tensor in state.items()})
    torch.testing.assert_close(alone, decoder(TARGET, memory, state)[1:2])


def test_pad_and_bos_are_impossible(decoder):
    logits = decoder(TARGET, small_memory(), small_state())[TARGET != PAD]
    assert (logits[:, [PAD, BOS]] == -torch.inf).all()
    assert logits[:, EOS:].isfinite().all()


def test_training_reaches_every_weight_of_the_decoder(decoder):
    decoder(TARGET, small_memory(), small_state())[TARGET != PAD][:, EOS:].logsumexp(1).sum().backward()
    assert all(weights.grad.abs().sum() > 0 for weights in decoder.parameters())


def test_attending_for_all_words_is_attending_for_each():
    torch.manual_seed(0)
    memory, hidden = small_memory(), torch.randn(3, 4, 8)
    contexts, weights = attend_all(hidden, memory)
    for at in range(4):
        context, looked = attend(hidden[:, at], memory.memory, memory.memory_mask)
        torch.testing.assert_close(contexts[:, at], context)
        torch.testing.assert_close(weights[:, at], looked)


def test_shared_dropout_drops_a_column_for_all_positions_and_keeps_the_mean():
    torch.manual_seed(0)
    dropout = SharedDropout(0.25)
    dropped = dropout(torch.ones(200, 3, 50))
    assert (dropped == dropped[:, :1]).all()
    assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 4 / 3])
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)
    assert (dropout.eval()(torch.ones(2, 3, 4)) == 1).all()


def test_the_encoder_takes_an_image_or_the_features_it_gave():
    torch.manual_seed(0)
    encoder = CaptioningEncoder(SMALL, MobileNetV2()).eval()
    for layer in encoder.network.buffers():
        if layer.dtype == torch.uint8:
            layer.random_(0, 2)
        elif layer.dim() == 0:
            layer.fill_(0.1)
    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        memory, state = encoder({"image": images})
        again, same_state = encoder({"features": encoder.network(images)})
    assert memory.memory.shape == (2, 49, 8)
    assert memory.memory_mask.all()
    assert {name: tensor.shape for name, tensor in state.items()} == {
        "hidden": (2, 8),
        "cell": (2, 8),
        "image": (2, 32),
    }
    torch.testing.assert_close(again.memory, memory.memory)
    torch.testing.assert_close(same_state, state)


# From a data folder to a model


@pytest.fixture
def data(tmp_path):
    """A data folder with three tiny photos and random network weights."""
    folder = tmp_path / "data"
    (folder / "flickr8k" / "images").mkdir(parents=True)
    (folder / "mobilenet_v2").mkdir()
    entries = []
    for number, split in enumerate(("train", "train", "val")):
        Image.new("RGB", (224, 224), (90 * number, 50, 0)).save(folder / "flickr8k" / "images" / f"{number}.png")
        entries.append({"image": f"{number}.png", "split": split, "captions": ["A dog runs .", "One dog runs fast !"]})
    write_captions(folder / "flickr8k" / "captions.jsonl", entries)
    random = np.random.default_rng(0)
    weights = {
        name: np.asarray(random.integers(0, 256, tuple(tensor.shape))).astype(np.uint8)
        if tensor.dtype == torch.uint8
        else np.full(tuple(tensor.shape), 0.001, np.float32)
        for name, tensor in MobileNetV2Classifier().state_dict().items()
    }
    np.savez(folder / "mobilenet_v2" / WEIGHT_FILE, **weights)
    return folder


def test_a_run_has_all_that_export_needs_without_the_data(data, tmp_path):
    config = CaptioningConfig(kind="captioning", vocabulary_size=120, images_per_batch=2)
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    problem = config.build(data, run, seed=1)
    (batch,) = problem.training_batches(0)
    assert batch.target.shape[0] == 4
    inputs = problem.held_back_inputs(5)
    assert [tensor["image"].shape for tensor in inputs] == [(1, 224, 224, 3)]
    assert inputs[0]["image"][0, 0, 0].tolist() == [180, 50, 0]

    model = SMALL.build(problem).eval()
    logits = model(batch.inputs, batch.source, batch.target)
    assert logits.shape == (*batch.target.shape, problem.tokenizer.size)
    bare = config.build(None, run, seed=1)
    assert bare.tokenizer.decode(batch.target[0].tolist()) == problem.tokenizer.decode(batch.target[0].tolist())
    again = SMALL.build(bare)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(batch.inputs, batch.source, batch.target), logits)


def test_two_runs_share_their_features(data, tmp_path):
    config = CaptioningConfig(kind="captioning", vocabulary_size=120)
    for name in ("one", "two"):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        config.build(data, run, seed=1)
        files = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs" / ".cache").iterdir()}
        assert len(files) == 3  # two views of the training images, one of the others
        if name == "one":
            before = files
    assert files == before


def test_every_held_back_image_gets_a_caption_and_padding_is_no_part_of_it(data, tmp_path):
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    problem = CaptioningConfig(kind="captioning", vocabulary_size=120).build(data, run, seed=1)
    model = SMALL.build(problem).eval()
    words = problem.tokenizer.encode("a dog runs")
    said = iter([*words, EOS])

    def step(token, memory, state):
        logits = torch.zeros(len(token), problem.tokenizer.size)
        logits[:, next(said)] = 1
        return logits, state, None

    model.decoder.step = step
    assert caption_validation(model, problem) == [words]


def test_bleu_takes_the_best_of_several_references():
    references = [("a dog runs on the grass", "one dog"), ("two men", "two men ride a red bike")]
    right = score_captions(["a dog runs on the grass", "two men ride a red bike"], references)
    assert [right[f"bleu_{order}"] for order in (1, 2, 3, 4)] == pytest.approx([100] * 4)
    assert score_captions(["a dog runs on the sand", "two men ride a bike"], references)["bleu_4"] < 80


def test_scores_while_training_are_those_of_the_evaluation():
    references = [
        ("a dog runs on the green grass", "one brown dog runs"),
        ("two men", "two men ride a red bike down a hill"),
        ("a child in a pool", "a boy swims in the pool", "a wet child"),
    ]
    captions = ["a brown dog runs on grass", "two men ride a bike", "a child swims in a pool"]
    ours, served = score_captions(captions, references), evaluation.score_captions(captions, references)
    assert [ours[f"bleu_{order}"] for order in (1, 2, 3, 4)] == pytest.approx(served.bleu)
    assert ours["cider"] == pytest.approx(served.cider)


def test_a_model_for_images_needs_a_problem_with_images():
    with pytest.raises(RecipeError, match="captioning"):
        SMALL.build(object())
