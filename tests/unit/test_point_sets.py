"""Targets of the pointing problems against brute force and SciPy, and the supply of batches."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull, Delaunay

from training.evaluate_pointing import same_polygon
from training.problems import delaunay
from training.problems.delaunay import EXHAUSTIVE, DelaunayConfig, delaunay_triangles
from training.problems.hull import HullConfig, hull_corners, hull_corners_from_first
from training.problems.points import order_by_x, pointing_batch
from training.problems.tour import TourConfig, apply_symmetries, canonical_tours
from training.problems.tour_solvers import optimal_tours, reference_tours, short_tours, tour_lengths
from training.vocabulary import EOS, FIRST_POSITION, PAD


def uniform(count, size, seed=0):
    return np.random.default_rng([seed, size]).random((count, size, 2))


def problems(tmp_path):
    few = {"smallest": 3, "largest": 8, "points_per_batch": 40, "batches_per_epoch": 5}
    configs = [HullConfig(**few), DelaunayConfig(**few), TourConfig(**few, solved_per_size=20)]
    return [config.build(None, tmp_path, seed=1) for config in configs]


@pytest.mark.parametrize("size", [3, 4, 10, 50])
def test_hulls_are_those_of_qhull_from_the_leftmost_point(size):
    points = uniform(50, size)
    for one, corners in zip(points, hull_corners(points), strict=True):
        assert same_polygon(corners, ConvexHull(one).vertices.tolist())
        assert one[corners[0], 0] == one[:, 0].min()


def test_hulls_may_begin_at_the_first_of_their_points():
    points = np.random.default_rng(0).random((20, 9, 2))
    for corners, moved in zip(hull_corners(points), hull_corners_from_first(points), strict=True):
        assert moved[0] == min(corners)
        assert same_polygon(moved, corners)
    first, leftmost = (
        HullConfig(smallest=9, largest=9, start=start).build(None, None, 0) for start in ("first", "leftmost")
    )
    assert first.solve is hull_corners_from_first
    assert leftmost.solve is hull_corners


@pytest.mark.parametrize("size", [3, 4, 7, 12])
def test_triangulations_are_those_of_qhull(size):
    points = uniform(30, size)
    for one, triangles in zip(points, delaunay_triangles(points), strict=True):
        assert {frozenset(row) for row in triangles.tolist()} == {
            frozenset(row) for row in Delaunay(one).simplices.tolist()
        }


def test_larger_sets_are_triangulated_by_qhull_in_the_same_order(monkeypatch):
    points = uniform(10, EXHAUSTIVE)
    tested = delaunay_triangles(points)
    monkeypatch.setattr(delaunay, "EXHAUSTIVE", EXHAUSTIVE - 1)
    for one, other in zip(tested, delaunay_triangles(points), strict=True):
        np.testing.assert_array_equal(one, other)


def test_triangles_stand_in_the_order_of_their_ranks_from_left_to_right():
    points = uniform(30, 9)
    ranks = order_by_x(points).argsort(1)
    for rank, triangles in zip(ranks, delaunay_triangles(points), strict=True):
        rows = rank[triangles].tolist()
        assert all(row == sorted(row) for row in rows)
        assert rows == sorted(rows)


@pytest.mark.parametrize("size", [3, 4, 5, 7])
def test_optimal_tours_are_as_short_as_the_best_permutation(size):
    points = uniform(5, size)
    tours = optimal_tours(points)
    assert (np.sort(tours, 1) == np.arange(size)).all()
    every = np.array([(0, *rest) for rest in permutations(range(1, size))])
    best = [tour_lengths(np.broadcast_to(one, (len(every), size, 2)), every).min() for one in points]
    np.testing.assert_allclose(tour_lengths(points, tours), best, rtol=1e-6)


@pytest.mark.parametrize("size", [3, 6, 10])
def test_the_local_search_finds_nearly_optimal_permutations(size):
    points = uniform(20, size)
    tours = short_tours(points, milliseconds=5)
    assert (np.sort(tours, 1) == np.arange(size)).all()
    excess = tour_lengths(points, tours) / tour_lengths(points, optimal_tours(points)) - 1
    assert (excess > -1e-6).all()
    assert excess.mean() < 0.002


def test_symmetries_keep_a_tours_length_and_are_eight():
    points = np.repeat(uniform(1, 6), 8, 0)
    shown = apply_symmetries(points, np.arange(8))
    tours = np.tile(np.arange(6), (8, 1))
    np.testing.assert_allclose(tour_lengths(shown, tours), tour_lengths(points, tours))
    assert all(not np.allclose(shown[i], shown[j]) for i, j in combinations(range(8), 2))
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_a_canonical_tour_starts_leftmost_and_walks_counter_clockwise_whatever_tour_it_comes_from():
    points = uniform(10, 7)
    tours = optimal_tours(points)
    canonical = canonical_tours(points, tours)
    np.testing.assert_allclose(tour_lengths(points, canonical), tour_lengths(points, tours))
    np.testing.assert_array_equal(canonical, canonical_tours(points, np.roll(tours[:, ::-1], 3, axis=1)))
    visited = np.take_along_axis(points, canonical[..., None], 1)
    following = np.roll(visited, -1, 1)
    assert ((visited[..., 0] * following[..., 1] - following[..., 0] * visited[..., 1]).sum(1) > 0).all()
    assert (visited[:, 0, 0] == points[..., 0].min(1)).all()


def test_batches_are_padded_and_end_in_eos():
    batch = pointing_batch([np.ones((2, 2)), np.ones((3, 2))], [[1, 0], [2]])
    assert batch.inputs["points"].dtype == torch.float64
    assert batch.inputs["points"][0].tolist() == [[1, 1], [1, 1], [0, 0]]
    assert batch.inputs["point_counts"].tolist() == [2, 3]
    first = FIRST_POSITION
    assert batch.target.tolist() == [[first + 1, first, EOS], [first + 2, EOS, PAD]]


def test_an_epoch_gives_the_same_batches_again_and_another_epoch_others(tmp_path):
    for problem in problems(tmp_path):
        first, again, other = (list(problem.training_batches(epoch)) for epoch in (0, 0, 1))
        assert len(first) == 5
        for one, two in zip(first, again, strict=True):
            assert torch.equal(one.inputs["points"], two.inputs["points"])
            assert torch.equal(one.target, two.target)
        assert not any(torch.equal(one.target, two.target) for one, two in zip(first, other, strict=True))


def test_held_back_instances_are_the_same_at_every_call_and_not_in_training(tmp_path):
    for problem in problems(tmp_path):
        held_back, again = (list(problem.validation_batches()) for _ in range(2))
        sets = {tuple(one.ravel().tolist()) for batch in held_back for one in batch.inputs["points"]}
        assert sets == {tuple(one.ravel().tolist()) for batch in again for one in batch.inputs["points"]}
        trained = {
            tuple(one.ravel().tolist()) for batch in problem.training_batches(0) for one in batch.inputs["points"]
        }
        assert not sets & trained


def test_a_tour_problem_resumes_from_the_pools_in_its_run_folder(tmp_path):
    config = TourConfig(
        smallest=5, largest=7, points_per_batch=30, batches_per_epoch=4, solved_per_size=10, exact_up_to=5
    )
    solved = list(config.build(None, tmp_path, seed=3).training_batches(2))
    read = list(config.build(None, tmp_path, seed=3).training_batches(2))
    assert list(tmp_path.glob("tours-*.npz"))
    assert all(torch.equal(one.target, two.target) for one, two in zip(solved, read, strict=True))


def test_sizes_must_be_in_order():
    with pytest.raises(ValueError, match="smallest 9 is above largest 8"):
        HullConfig(smallest=9, largest=8)


def test_the_first_epochs_draw_octaves_evenly_and_the_others_sizes():
    config = HullConfig(smallest=4, largest=63, small_first_epochs=2)
    draws = {epoch: [config.draw_size(np.random.default_rng(seed), epoch) for seed in range(400)] for epoch in (1, 2)}
    assert np.mean(np.array(draws[1]) < 16) == pytest.approx(0.5, abs=0.08)
    assert np.mean(np.array(draws[2]) < 16) == pytest.approx(0.2, abs=0.08)
    assert all(4 <= size <= 63 for sizes in draws.values() for size in sizes)


def test_reference_tours_are_as_short_as_the_optimal_ones():
    points = uniform(4, 9)
    tours = reference_tours(points, milliseconds=1)
    np.testing.assert_allclose(tour_lengths(points, tours), tour_lengths(points, optimal_tours(points)), rtol=1e-4)
