"""5: exact geometry: SciPy's hulls and triangulations, elkai's tours; time a set, and how good the answer is."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from beamstep.client import Client, DecodingOptions
from benchmarks.peers.asked import BEAM_SIZE, point_sets
from benchmarks.peers.sides import OURS, ours
from benchmarks.peers.table import Effort, Figures, Group, NotMeasuredError, Ratio, Sides, Table

Points = Sequence[tuple[float, float]]
SCIPY: Final = "SciPy"
ELKAI: Final = "elkai"
TIME: Final = "ms a set"
EXACT: Final = "exact, %"
COVERED: Final = "area covered, %"
TRIANGLES: Final = "triangles found, %"
LONGER: Final = "longer than elkai's, %"
ELKAI_VENV: Final = Path("build") / "peers" / "elkai"
"""An environment of its own: elkai is LKH, whose licence is for academic and non-commercial use."""
ELKAI_VERSION: Final = "2.0.1"
TOUR_SETS: Final = 32
"""The sets whose tours are compared; both sides find all of them in every repeat."""


def timed(sets: Sequence[Points], seconds: float, solve: Callable[[Points], Any]) -> tuple[float, list[Any]]:
    """Solve sets until so much time has passed, at least one.

    Returns:
        the median milliseconds, and the answers of the sets that were solved.
    """
    answers, spent = [], []
    until = time.perf_counter() + seconds
    for points in sets:
        began = time.perf_counter()
        answers.append(solve(points))
        spent.append((time.perf_counter() - began) * 1e3)
        if time.perf_counter() > until:
            break
    return statistics.median(spent), answers


def _options() -> DecodingOptions:
    return DecodingOptions(beam_size=BEAM_SIZE)


def _percent(values: Sequence[float]) -> float:
    return 100 * statistics.fmean(values)


def _hull(count: int) -> Group:
    @contextmanager
    def opened(effort: Effort) -> Iterator[Sides]:
        spatial = _spatial()
        sets = point_sets(count)
        with (
            ours(effort.models / "hull" / "1", effort.serve) as server,
            Client(server.address, timeout_s=600) as client,
        ):

            def exact() -> Figures:
                middle, _ = timed(sets, effort.seconds, lambda points: spatial.ConvexHull(np.array(points)))
                return {TIME: middle, EXACT: 100.0, COVERED: 100.0}

            def found() -> Figures:
                middle, answers = timed(
                    sets, effort.seconds, lambda points: client.find_convex_hull(points, options=_options())
                )
                best = [answer.hypotheses[0] for answer in answers]
                covered = _percent([one.area_coverage for one in best])
                return {TIME: middle, EXACT: _percent([one.exact for one in best]), COVERED: covered}

            yield Sides({SCIPY: exact, OURS: found}, server.pids)

    return Group(f"convex hull of {count} points", opened, (Ratio(TIME, OURS, SCIPY),))


def _delaunay(count: int) -> Group:
    @contextmanager
    def opened(effort: Effort) -> Iterator[Sides]:
        spatial = _spatial()
        sets = point_sets(count)
        with (
            ours(effort.models / "delaunay" / "1", effort.serve) as server,
            Client(server.address, timeout_s=600) as client,
        ):

            def exact() -> Figures:
                middle, _ = timed(sets, effort.seconds, lambda points: spatial.Delaunay(np.array(points)))
                return {TIME: middle, EXACT: 100.0, TRIANGLES: 100.0}

            def found() -> Figures:
                middle, answers = timed(
                    sets, effort.seconds, lambda points: client.find_delaunay_triangulation(points, options=_options())
                )
                best = [answer.hypotheses[0] for answer in answers]
                triangles = _percent([one.triangle_coverage for one in best])
                return {TIME: middle, EXACT: _percent([one.exact for one in best]), TRIANGLES: triangles}

            yield Sides({SCIPY: exact, OURS: found}, server.pids)

    return Group(f"Delaunay triangulation of {count} points", opened, (Ratio(TIME, OURS, SCIPY),))


def _tour(count: int) -> Group:
    @contextmanager
    def opened(effort: Effort) -> Iterator[Sides]:
        python = elkai_python()
        sets = point_sets(count, TOUR_SETS)
        reference = elkai_tours(python, sets)
        lengths = [tour_length(points, tour) for points, tour in zip(sets, reference["tours"], strict=True)]
        with (
            ours(effort.models / "tour" / "1", effort.serve) as server,
            Client(server.address, timeout_s=600) as client,
        ):

            def exact() -> Figures:
                return {TIME: 1e3 * statistics.median(elkai_tours(python, sets)["seconds"]), LONGER: 0.0}

            def found() -> Figures:
                middle, answers = timed(
                    sets, effort.seconds, lambda points: client.find_tour(points, options=_options())
                )
                own = [answer.hypotheses[0].length for answer in answers]
                return {
                    TIME: middle,
                    LONGER: round(_percent([one / best - 1 for one, best in zip(own, lengths, strict=False)]), 6),
                }

            yield Sides({ELKAI: exact, OURS: found}, server.pids)

    return Group(f"tour of {count} points", opened, (Ratio(TIME, OURS, ELKAI),))


def _spatial() -> Any:
    try:
        from scipy import spatial
    except ModuleNotFoundError:
        raise NotMeasuredError("SciPy is not installed: pip install 'beamstep[evaluate]'") from None
    return spatial


def elkai_python() -> Path:
    """Return the Python of an environment that has elkai, made where there is none. NotMeasuredError where it cannot be made."""
    python = ELKAI_VENV.absolute() / "bin" / "python"
    steps = [
        [sys.executable, "-m", "venv", str(ELKAI_VENV)],
        [str(python), "-m", "pip", "install", "--quiet", f"elkai=={ELKAI_VERSION}"],
    ]
    if not (ELKAI_VENV / "made").exists():
        for step in steps:
            done = subprocess.run(step, check=False, capture_output=True, text=True)
            if done.returncode != 0:
                raise NotMeasuredError(
                    f"{' '.join(step)} ended with status {done.returncode}: {done.stderr.strip()[-200:]}"
                )
        (ELKAI_VENV / "made").touch()
    return python


def elkai_tours(python: Path, sets: Sequence[Points]) -> dict[str, Any]:
    """Return elkai's tours of point sets, as indices, and the seconds of each."""
    script = Path(__file__).with_name("elkai_tours.py")
    done = subprocess.run(
        [str(python), str(script)], input=json.dumps(sets), capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def tour_length(points: Points, tour: Sequence[int]) -> float:
    """Return the length of a closed tour."""
    visited = np.array(points)[list(tour)]
    return float(np.linalg.norm(visited - np.roll(visited, -1, 0), axis=1).sum())


TABLE: Final = Table("geometry", (_hull(10), _hull(50), _hull(100), _delaunay(10), _delaunay(50), _tour(10), _tour(50)))
