"""A source from the cache of encoder memory is decoded as if it were encoded again, whatever its neighbours were and are."""

from pathlib import Path

import pytest

from serving.bundle import find_bundles, load_bundle
from serving.caches.memory import MemoryCache
from serving.engine import Engine
from serving.registry import TASKS
from serving.request import CacheHit
from serving.session import OnnxModel, SessionConfig
from serving.tasks.options import RequestedOptions
from tests.fakes.calls import SCORE_TOLERANCE

SHIPPED = Path(__file__).parents[2] / "models"
TEXTS = (
    "A dog runs.",
    "Two children are playing in the snow while their father takes a picture of them.",
    "A man in a blue shirt is standing on a ladder cleaning a window in front of a red car.",
)
WAIT_S = 120


@pytest.fixture(scope="module")
def bundle():
    [folder] = find_bundles(SHIPPED)[-1:]
    loaded = load_bundle(folder)
    assert loaded.manifest.task == "translation"
    return loaded


def test_answers_with_and_without_the_cache_agree(bundle):
    model = OnnxModel(bundle, SessionConfig(step_threads=1, encoder_threads=1, spinning=False))
    task = TASKS["translation"](bundle)
    sources = [task.source(text) for text in TEXTS]
    plans = [task.plan(RequestedOptions(beam_size=2 + place, attention=True), one) for place, one in enumerate(sources)]

    def ask(engine, place):
        one, plan = sources[place], plans[place]
        return engine.submit("m", one.inputs, plan.options, plan.constraint, source_length=one.length)

    with Engine({"m": model}) as engine:
        plain = [ask(engine, place).future.result(WAIT_S) for place in range(3)]
    cache = MemoryCache(2**24)
    with Engine({"m": model}, memory_cache=cache) as engine:
        together = [ask(engine, place) for place in range(3)]  # padded to the longest, if they come in time
        for ticket in together:
            ticket.future.result(WAIT_S)
        alone = [ask(engine, place).future.result(WAIT_S) for place in range(3)]
        again = [ticket.future.result(WAIT_S) for ticket in [ask(engine, place) for place in (2, 0, 1)]]
    for found in (alone, [again[1], again[2], again[0]]):
        assert [answer.cache_hit for answer in found] == [CacheHit.MEMORY] * 3
        for answer, wanted in zip(found, plain, strict=True):
            assert len(answer.hypotheses) == len(wanted.hypotheses)
            for one, other in zip(answer.hypotheses, wanted.hypotheses, strict=True):
                assert one.tokens == other.tokens
                assert one.score == pytest.approx(other.score, abs=SCORE_TOLERANCE)
                assert one.attention == pytest.approx(other.attention, abs=1e-4)
    assert cache.snapshot().misses == 3
