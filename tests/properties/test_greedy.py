"""Beam 1 is greedy search for every task, on tables; on real sessions in tests/parity/test_greedy.py."""

import io
from random import Random

import numpy as np
import pytest
from PIL import Image

from serving.decoding.constraints import Constraint
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.registry import TASKS
from serving.tasks.base import Plan, TextTask, first_banned
from serving.tasks.options import RequestedOptions
from serving.tasks.pointing import Pointing
from tests.fakes.bundles import write_bundle
from tests.fakes.greedy import FIRST_POSITION, MayFollow, greedy, rule_of
from tests.fakes.markov import SPECIAL, MarkovModel, random_table, source

CHAINS = 60


@pytest.fixture(scope="module", params=list(TASKS))
def task(request, tmp_path_factory):
    bundle = write_bundle(tmp_path_factory.mktemp("models"), request.param)
    return TASKS[request.param](bundle)


def random_points(random: Random) -> np.ndarray:
    """Draw few points on a grid, some of them equal, never all on one line."""
    corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    more = [(float(random.randrange(3)), float(random.randrange(3))) for _ in range(random.randrange(4))]
    return np.array(random.sample(corners + more, len(corners + more)))


def plan_of(task, random: Random, **asked) -> tuple[Plan, np.ndarray | None]:
    """Plan a request as the servicers do; the payload is random."""
    requested = RequestedOptions(**asked)
    if isinstance(task, Pointing):
        points = random_points(random)
        return task.plan(requested, task.source(points)), points
    assert isinstance(task, TextTask)
    payload = "ein hund" if task.bundle.manifest.task == "translation" else _image()
    return task.plan(requested, task.source(payload)), None


def _image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 8)).save(file, "PNG")
    return file.getvalue()


def test_beam_one_is_greedy(task):
    """Alone, and in a batch beside the widest beams that the model allows."""
    random = Random(0)
    name = task.bundle.manifest.task
    for number in range(CHAINS):
        plan, points = plan_of(task, random, beam_size=1)
        size = plan.options.vocabulary_size
        model = MarkovModel([random_table(number, size, levels=random.choice([None, 3]), sharpness=2.0)])
        neighbour = DecodingOptions(8, 12, size, SPECIAL, hypothesis_count=3)
        [(alone,)] = decode(model, [source()], plan.options, [plan.constraint])
        _, (beside,) = decode(model, [source()] * 2, [neighbour, plan.options], [None, plan.constraint])
        tokens, log_probs = greedy(model, source(), plan.options, rule_for(name, points, plan.constraint))
        assert alone.tokens == tokens
        assert list(alone.token_log_probs) == log_probs
        assert beside == alone
        if points is not None:
            assert_is_an_answer(name, tokens, len(points), whole=tokens[-1] == SPECIAL.eos)


def rule_for(name: str, points: np.ndarray | None, constraint: Constraint | None) -> MayFollow:
    """Return the rule in plain Python; of hulls and triangulations the constraint's own, which test_well_formed.py has."""
    if name in {"convex_hull", "delaunay"}:
        return lambda tokens, following: first_banned((*tokens, following), constraint) is None
    return rule_of(name, points)


def assert_is_an_answer(name: str, tokens: tuple[int, ...], count: int, *, whole: bool) -> None:
    indices = [token - FIRST_POSITION for token in tokens if token >= FIRST_POSITION]
    assert all(index < count for index in indices)
    if name == "tour":
        assert sorted(indices) == list(range(count))
    elif name == "convex_hull":
        assert len(set(indices)) == len(indices)
    elif whole:
        assert len(indices) % 3 == 0
        triangles = [frozenset(indices[at : at + 3]) for at in range(0, len(indices), 3)]
        assert {len(triangle) for triangle in triangles} == {3}
        assert len(set(triangles)) == len(triangles)
