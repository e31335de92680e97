"""The attentive set encoder and the pointer decoder."""

import numpy as np
import pytest
import torch

from training.evaluate_pointing import decode_greedily, same_polygon, triangle_set
from training.models.base import Memory
from training.models.point_sequence import PointSequenceConfig
from training.models.pointer import PointerConfig
from training.models.recurrent_points import RecurrentPointsConfig
from training.models.set_encoder import SetEncoderConfig, normalise_points
from training.problems.hull import HullConfig, hull_corners
from training.problems.points import pointing_batch
from training.vocabulary import BOS, EOS, FIRST_POSITION, PAD

SMALL = SetEncoderConfig(hidden_size=16, num_layers=2, num_heads=2)
KINDS = {
    "plain": PointerConfig(encoder=SMALL, num_heads=2),
    "remembering": PointerConfig(encoder=SMALL, num_heads=2, recent=2, remembered=3),
    "recurrent": PointerConfig(encoder=RecurrentPointsConfig(hidden_size=16), num_heads=2),
    "triangles": PointerConfig(encoder=SMALL, num_heads=2, recent=5, period=3),
    "ptr-net": PointSequenceConfig(kind="point_sequence", hidden_size=16),
    "lstm": PointSequenceConfig(kind="point_sequence", output="vocabulary", positions=9, hidden_size=16),
    "lstm with attention": PointSequenceConfig(
        kind="point_sequence", output="vocabulary", positions=9, attention="additive", hidden_size=16
    ),
}


def model_of(config):
    torch.manual_seed(0)
    problem = HullConfig(smallest=3, largest=5).build(None, None, seed=0)
    return config.build(problem).eval()


def some_batch():
    """Two sets of 6 and 4 points, padded to 6; targets of different lengths."""
    generator = np.random.default_rng(0)
    return pointing_batch([generator.random((6, 2)), generator.random((4, 2))], [[5, 0, 3, 1], [2, 1]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_target_scores_as_stepping_through_it(kind):
    model, batch = model_of(KINDS[kind]), some_batch()
    whole = model(batch.inputs, batch.source, batch.target)
    memory, state = model.encoder(batch.inputs)
    token = torch.full((2,), BOS)
    for at in range(batch.target.shape[1]):
        logits, state, attention = model.decoder.step(token, memory, state)
        torch.testing.assert_close(logits, whole[:, at])
        torch.testing.assert_close(attention.sum(1), torch.ones(2))
        token = batch.target[:, at]


@pytest.mark.parametrize("kind", KINDS)
def test_pad_bos_and_padded_positions_are_impossible_and_a_remembered_point_too(kind):
    model, batch = model_of(KINDS[kind]), some_batch()
    logits = model(batch.inputs, batch.source, batch.target)
    assert logits.shape == (2, 5, FIRST_POSITION + 6)
    assert (logits[..., [PAD, BOS]] == -torch.inf).all()
    assert (logits[1, :, FIRST_POSITION + 4 :] == -torch.inf).all()
    assert logits[..., EOS].isfinite().all()
    taken = logits[0, 1:, FIRST_POSITION + 5] == -torch.inf  # point 5 was chosen at step 0
    assert taken.tolist() == ([True, True, True, False] if kind == "remembering" else [False] * 4)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    model = model_of(KINDS[kind])
    points = np.random.default_rng(1).random((1, 5, 2))
    alone = pointing_batch(points, [[1, 4, 2]])
    beside = pointing_batch([points[0], np.random.default_rng(2).random((9, 2)) * 100], [[1, 4, 2], [0, 1, 2, 3]])
    short = model(alone.inputs, alone.source, alone.target)
    long = model(beside.inputs, beside.source, beside.target)[:1, :4]
    torch.testing.assert_close(short, long[..., : short.shape[2]])
    assert (long[..., short.shape[2] :] == -torch.inf).all()


def test_points_beyond_a_fixed_vocabulary_are_impossible():
    config = KINDS["lstm"].model_copy(update={"positions": 4})
    batch = some_batch()
    logits = model_of(config)(batch.inputs, batch.source, batch.target)
    assert logits[0, :, FIRST_POSITION : FIRST_POSITION + 4].isfinite().all()
    assert (logits[..., FIRST_POSITION + 4 :] == -torch.inf).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output": "vocabulary"}, "allowed: positions, the size of the sets"),
        ({"output": "pointer", "positions": 5}, "allowed: no attention, no positions"),
        ({"output": "pointer", "attention": "additive"}, "allowed: no attention, no positions"),
    ],
)
def test_only_the_three_models_of_the_paper_can_be_said(changes, said):
    with pytest.raises(ValueError, match=said):
        PointSequenceConfig.model_validate({"kind": "point_sequence", **changes})


def test_permuting_the_points_permutes_the_memory_and_the_answer():
    model = model_of(KINDS["plain"])
    points = np.random.default_rng(3).random((1, 8, 2))
    order = np.random.default_rng(4).permutation(8)
    first, moved = (pointing_batch(one, [[0]]).inputs for one in (points, points[:, order]))
    torch.testing.assert_close(model.encoder(moved)[0].memory, model.encoder(first)[0].memory[:, order])
    answer = decode_greedily(model, points, 6)[0]
    assert [order[i] for i in decode_greedily(model, points[:, order], 6)[0]] == answer


@pytest.mark.parametrize(("scale", "shift"), [(1e6, 0.0), (1e-3, 5e5), (40.0, -7.0)])
def test_moving_and_scaling_a_set_changes_next_to_nothing(scale, shift):
    points = torch.from_numpy(np.random.default_rng(5).random((1, 7, 2)))
    counts = torch.tensor([7])
    scaled, mask = normalise_points(points, counts)
    again, _ = normalise_points(points * scale + shift, counts)
    assert scaled.dtype == torch.float32
    assert mask.all()
    assert scaled.amin(1).tolist() == [[0, 0]]
    assert scaled.max() == 1
    torch.testing.assert_close(again, scaled, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((1, 1, 2)),
        np.full((1, 4, 2), 3.5),
        np.array([[[0.0, 1.0], [0.0, 2.0], [0.0, 9.0]]]),
        np.zeros((1, 0, 2)),
    ],
)
def test_degenerate_sets_give_no_nan(points):
    model = model_of(KINDS["remembering"])
    padded = pointing_batch([points[0], np.random.default_rng(0).random((4, 2))], [[], []])
    memory, state = model.encoder(padded.inputs)
    assert memory.memory.isfinite().all()
    token = torch.full((2,), BOS)
    for _ in range(5):  # longer than the set: every point taken
        logits, state, attention = model.decoder.step(token, memory, state)
        assert not logits.isnan().any()
        assert attention.isfinite().all()
        token = logits.argmax(1)


def test_a_row_reads_its_own_source_and_state():
    model, batch = model_of(KINDS["remembering"]), some_batch()
    memory, state = model.encoder(batch.inputs)
    rows = torch.tensor([1, 0, 1])
    gathered = {name: tensor[rows] for name, tensor in state.items()}
    logits, _, _ = model.decoder.step(torch.full((3,), BOS), memory.take(rows), gathered)
    both, _, _ = model.decoder.step(torch.full((2,), BOS), memory, state)
    torch.testing.assert_close(logits, both[rows])
    assert isinstance(memory, Memory)


def test_greedy_tours_visit_every_point_once_even_untrained():
    answers = decode_greedily(
        model_of(KINDS["plain"]), np.random.default_rng(6).random((5, 9, 2)), 9, each_point_once=True
    )
    assert all(sorted(answer) == list(range(9)) for answer in answers)


def test_a_few_steps_of_training_learn_hulls_of_four_points():
    model = model_of(PointerConfig(encoder=SetEncoderConfig(hidden_size=32, num_layers=2, num_heads=2), remembered=8))
    problem = HullConfig(smallest=4, largest=4, points_per_batch=256, batches_per_epoch=100).build(None, None, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for batch in problem.training_batches(0):
        logits = model(batch.inputs, batch.source, batch.target)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.target.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    points = np.random.default_rng(7).random((200, 4, 2))
    answers = decode_greedily(model.eval(), points, 5)
    right = [same_polygon(answer, corners) for answer, corners in zip(answers, hull_corners(points), strict=True)]
    assert np.mean(right) > 0.4


def test_polygons_are_the_same_up_to_rotation_and_triangles_up_to_order():
    assert same_polygon([2, 3, 1], [1, 2, 3])
    assert not same_polygon([3, 2, 1], [1, 2, 3])
    assert not same_polygon([1, 2], [1, 2, 3])
    assert not same_polygon([], [1, 2, 3])
    assert triangle_set([0, 1, 2, 3, 1, 2, 4]) == {frozenset({0, 1, 2}), frozenset({1, 2, 3})}
