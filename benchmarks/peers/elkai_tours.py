"""Solves tours by elkai: point sets as JSON in, tours out. Runs in the environment that holds it, and imports nothing of ours."""

import json
import sys
import time

import elkai  # type: ignore[import-not-found]

UNIT = 1e6
"""elkai rounds distances to whole numbers."""


def main() -> None:
    """Read sets from stdin; write the tours, as indices, and the seconds of each."""
    tours, seconds = [], []
    for points in json.load(sys.stdin):
        cities = {str(place): (UNIT * x, UNIT * y) for place, (x, y) in enumerate(points)}
        began = time.perf_counter()
        tour = elkai.Coordinates2D(cities).solve_tsp()
        seconds.append(time.perf_counter() - began)
        tours.append([int(place) for place in tour[:-1]])  # the last is the first again
    json.dump({"tours": tours, "seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main()
