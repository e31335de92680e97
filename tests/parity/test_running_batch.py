"""On a real session, too, neighbours do not change an answer, whoever joins and leaves in between, whatever each asks for."""

from random import Random

import pytest

from serving.decoding.hypothesis import FinishReason
from serving.decoding.search import decode
from serving.registry import TASKS
from serving.running import Admission, RunningBatch
from serving.tasks.base import Plan, Source, TextTask
from tests.fakes.calls import assert_alike, draw_calls, plan, serve_together, source_of


@pytest.mark.parametrize("seed", range(8))
def test_neighbours_do_not_change_an_answer(exported, seed):
    calls = draw_calls(exported, seed)
    for number, found in serve_together(exported.model, calls).items():
        source, asked = calls.sources[number], calls.plans[number]
        if any(h.finish_reason is FinishReason.DEADLINE for h in found):
            alone = stopped_alone(exported.model, source, asked, calls.stops[number])
        else:
            [alone] = decode(exported.model, [source.inputs], asked.options, [asked.constraint])
        assert_alike(found, alone, asked.options)


def stopped_alone(model, source: Source, plan: Plan, steps: int):
    batch = RunningBatch(model, plan.options.special)
    batch.admit([Admission(0, *plan, source.length)], model.encode([source.inputs]))
    for _ in range(steps):
        assert not batch.step()
    return batch.stop(0).hypotheses


def test_everything_is_asked_for(exported):
    """Were it not, the test above would say less than it seems to."""
    task = TASKS[exported.bundle.manifest.task](exported.bundle)
    drawn = [
        plan(random, task, source_of(task, inputs)).options
        for random in map(Random, range(4))
        for inputs in exported.sources
    ]
    for said in (
        [o.alternatives for o in drawn],
        [o.sampling is not None for o in drawn],
        [o.scored for o in drawn],
        [bool(o.prefix) and not o.scored for o in drawn],
        [o.patience is not None for o in drawn],
        [o.coverage_penalty > 0 for o in drawn],
        [o.repetition_penalty > 1 for o in drawn],
        [o.required is not None for o in drawn] if isinstance(task, TextTask) else [True],
    ):
        assert any(said)
