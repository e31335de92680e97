"""Made instances are what the evaluation reads, and their answers are right."""

import itertools

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.make_instances import make_instances
from export.evaluation.instances import as_cycle, as_tour, as_triangles, parse_instance
from serving.tasks.geometry import convex_hull, tour_length
from serving.tasks.triangulation import Triangulations
from serving.tasks.verification import same_cycle

app = Typer()
app.command()(make_instances)


def make(*options: str) -> list[str]:
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_made_hulls_are_the_hulls_that_serving_finds():
    for line in make("hull", "--count", "5", "--points", "12"):
        instance = parse_instance(line, "made")
        assert same_cycle(as_cycle(instance), convex_hull(instance.points))


def test_made_triangulations_are_triangulations():
    (instance,) = (parse_instance(line, "made") for line in make("delaunay", "--count", "1", "--points", "9"))
    assert Triangulations(instance.points).is_delaunay(as_triangles(instance))


def test_made_tours_are_no_longer_than_any_other():
    (instance,) = (parse_instance(line, "made") for line in make("tour", "--count", "1", "--points", "6"))
    shortest = min(tour_length(instance.points, [0, *rest]) for rest in itertools.permutations(range(1, 6)))
    assert tour_length(instance.points, as_tour(instance)) == pytest.approx(shortest)


def test_larger_tours_are_searched_for_and_pass_every_point_once():
    (instance,) = (parse_instance(line, "made") for line in make("tour", "--count", "1", "--points", "22"))
    tour = as_tour(instance)
    assert sorted(tour) == list(range(22))
    assert tour_length(instance.points, tour) < tour_length(instance.points, range(22)) / 2


def test_a_seed_decides_the_points():
    options = ("hull", "--count", "1", "--points", "4", "--seed")
    assert make(*options, "3") == make(*options, "3") != make(*options, "4")
