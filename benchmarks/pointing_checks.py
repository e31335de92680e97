"""Times what a server does to answers about points: judging them, repairing them, and banning what is not well-formed.

    python -m benchmarks.pointing_checks

Answers are right ones, and wrong ones: a corner, a triangle left out, a random tour. In processor time, which other programs on the
machine do not lengthen.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serving.decoding.constraints import Constraint, HullConstraint, TriangulationConstraint
from serving.decoding.options import SpecialTokens
from serving.tasks.geometry import Points, convex_hull
from serving.tasks.tours import distances_between, locally_optimal_tour
from serving.tasks.triangulation import Triangulations
from serving.tasks.verification import HullJudge, Repair, TourJudge, TriangulationJudge
from serving.tasks.well_formed import MOST_POINTS, ConvexRule, TriangulationRule

SPECIAL = SpecialTokens(pad=0, bos=1, eos=2)
FIRST = 3
Tokens = NDArray[np.int64]
BEAM_SIZE = 5


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of an action."""
    times = []
    for _ in range(repeats):
        began = time.thread_time_ns()
        action()
        times.append((time.thread_time_ns() - began) / 1e6)
    return statistics.median(times)


def time_judges(points: Points, random: np.random.Generator, repeats: int) -> None:
    """Print what judging takes, whatever is worked out once a request included."""
    hull, triangles = convex_hull(points), list(Triangulations(points).cells.triangles)
    drawn = [int(point) for point in random.permutation(len(points))]
    optimal = locally_optimal_tour(distances_between(points), drawn)
    actions: dict[str, Callable[[], object]] = {
        "hull, right": lambda: HullJudge(points).judge(hull),
        "hull, repaired": lambda: HullJudge(points).judge(hull[:-1], Repair.FIX),
        "triangulation, right": lambda: TriangulationJudge(points).judge(triangles),
        "triangulation, wrong": lambda: TriangulationJudge(points).judge(triangles[:-1]),
        "triangulation, repaired": lambda: TriangulationJudge(points).judge(triangles[:-1], Repair.FIX),
        "tour, locally optimal": lambda: TourJudge(points).judge(optimal),
        "tour, random": lambda: TourJudge(points).judge(drawn),
    }
    for name, action in actions.items():
        print(f"{len(points):4d} points, {name:24s} {median_ms(action, repeats):8.2f} ms")


def time_rules(points: Points, repeats: int) -> None:
    """Print what banning takes a step of a beam of right answers, each in another order: for searches, and for scoring."""
    count = len(points)
    hull, triangles = convex_hull(points), np.array(Triangulations(points).cells.triangles)
    corners = FIRST + np.array([hull[start:] + hull[:start] for start in range(BEAM_SIZE)])
    random = np.random.default_rng(count)
    flat = FIRST + np.array([random.permutation(triangles).ravel() for _ in range(BEAM_SIZE)])
    rules: dict[str, tuple[Callable[[], Constraint], Tokens]] = {
        "hull, for scoring": (lambda: HullConstraint(SPECIAL), corners),
        "hull": (lambda: ConvexRule(points, FIRST, SPECIAL), corners),
        "triangulation, for scoring": (lambda: TriangulationConstraint(count, FIRST, SPECIAL), flat),
    }
    if count <= MOST_POINTS:
        rules["triangulation"] = lambda: TriangulationRule(points, FIRST, SPECIAL), flat
        prepared = median_ms(lambda: TriangulationRule(points, FIRST, SPECIAL).prepare(), repeats)
        print(f"{count:4d} points, triangulation, prepared once a request {prepared:8.2f} ms")
    for name, (rule, beam) in rules.items():

        def search(rule: Callable[[], Constraint] = rule, beam: Tokens = beam) -> None:
            constraint = rule()
            for length in range(beam.shape[1] + 1):
                constraint.banned(beam[:, :length])

        print(f"{count:4d} points, {name:24s} {1000 * median_ms(search, repeats) / (beam.shape[1] + 1):8.0f} us a step")


def main() -> None:
    """Print milliseconds an answer and microseconds a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[10, 50, 500])
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    for count in arguments.points:
        random = np.random.default_rng(count)
        points = random.random((count, 2))
        time_judges(points, random, arguments.repeats)
        time_rules(points, arguments.repeats)


if __name__ == "__main__":
    main()
