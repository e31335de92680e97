"""Calls to a real bundle: some of everything that can be asked, who comes and goes when, and one batch that serves all."""

from dataclasses import replace
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import LengthNormalization
from serving.decoding.step import Model
from serving.errors import InvalidRequest
from serving.registry import TASKS
from serving.running import Admission, RunningBatch
from serving.tasks.base import Plan, Source, Task, TextTask
from serving.tasks.options import RequestedOptions, RequestedSampling
from serving.tasks.pointing import Pointing

SCORE_TOLERANCE = 1e-4
"""Longer neighbours pad the memory, and sums over padding are made in another order: a few units of 2^-24 a token."""
PENALISED_TOLERANCE = 1e-3
"""A repetition penalty multiplies that, and the logarithm of a position that got little attention does."""
LAST_ARRIVAL = 8


def source_of(task: Task, inputs) -> Source:
    if isinstance(task, Pointing):
        return task.source(inputs["points"])
    length = len(inputs["source_tokens"]) if "source_tokens" in inputs else task.grid[0] * task.grid[1]
    return Source(inputs, length, task.bundle.manifest.vocabulary.size, None)


def requested(random: Random, task: Task, source: Source) -> RequestedOptions:
    """Ask for some of everything, each with a chance of its own."""
    first = task.bundle.manifest.vocabulary.unk or 2
    tokens = range(first + 1, source.vocabulary_size)
    beam_size = random.randint(1, 5)
    max_length = random.randint(4, 12)
    asked = RequestedOptions(
        beam_size=beam_size,
        hypothesis_count=random.randint(1, beam_size),
        max_length=max_length,
        min_length=random.choice([0, 0, 2]),
        length_penalty=random.choice([0.0, 0.3, 1.0]),
        length_normalization=random.choice(list(LengthNormalization)),
        coverage_penalty=random.choice([0.0, 0.0, 0.4]),
        patience=random.choice([None, None, 0.5, 1.0]),
        repetition_penalty=random.choice([1.0, 1.0, 1.3]),
        no_repeat_ngram_size=random.choice([0, 0, 1, 2]),
        suppressed_tokens=tuple(random.sample(tokens, 1)) if random.random() < 0.3 else (),
        target_prefix_tokens=tuple(random.sample(tokens, 2)) if random.random() < 0.3 else (),
        attention=random.random() < 0.4,
    )
    kind = random.choice(["plain", "plain", "alternatives", "sampling", "phrases"])
    if kind == "alternatives":
        return replace(asked, alternatives=True)
    if kind == "sampling":
        sampling = RequestedSampling(1.2, random.choice([2, 50]), random.choice([0.8, 1.0]), random.randrange(2**63))
        return replace(asked, beam_size=None, patience=None, sampling=sampling)
    if kind == "phrases" and isinstance(task, TextTask):
        pieces = [piece for piece in task.pieces(tokens) if piece.strip("▁").isalnum()]
        words = random.sample(pieces, 3)
        return replace(
            asked, required_phrases=(words[0].strip("▁"),), suppressed_phrases=tuple(w.strip("▁") for w in words[1:])
        )
    return asked


def plan(random: Random, task: Task, source: Source) -> Plan:
    """Draw options until the task accepts them."""
    for _ in range(100):
        try:
            if random.random() < 0.1:
                return task.plan_score(RequestedOptions(), source, score_target(random, task, source))
            return task.plan(requested(random, task, source), source)
        except InvalidRequest:
            continue
    raise AssertionError("no draw was acceptable")


def score_target(random: Random, task: Task, source: Source) -> tuple[int, ...]:
    first = task.bundle.manifest.vocabulary.unk or 2
    tokens = range(first + 1, source.vocabulary_size)
    return tuple(random.sample(tokens, min(len(tokens), 3)))


def assert_alike(found, alone, options) -> None:
    assert [h.tokens for h in found] == [h.tokens for h in alone]
    assert [h.finish_reason for h in found] == [h.finish_reason for h in alone]
    penalised = options.repetition_penalty > 1 or options.coverage_penalty > 0
    for one, other in zip(found, alone, strict=True):
        assert one.score == pytest.approx(other.score, abs=PENALISED_TOLERANCE if penalised else SCORE_TOLERANCE)
        np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, atol=SCORE_TOLERANCE)
        if options.attention:
            np.testing.assert_allclose(one.attention, other.attention, atol=SCORE_TOLERANCE)


class Calls(NamedTuple):
    """What is asked of some sources, when each comes, who gives up two turns later, and who is stopped after how many turns."""

    sources: list[Source]
    plans: list[Plan]
    arrival: list[int]
    gives_up: set[int]
    stops: dict[int, int]


def draw_calls(exported, seed: int) -> Calls:
    random = Random(seed)
    task = TASKS[exported.bundle.manifest.task](exported.bundle)
    sources = [source_of(task, inputs) for inputs in exported.sources]
    plans = [plan(random, task, source) for source in sources]
    arrival = [random.randrange(LAST_ARRIVAL) for _ in sources]
    gives_up = {random.randrange(len(sources)) for _ in range(2)}
    stops = {number: random.randint(1, 6) for number in range(len(sources)) if random.random() < 0.2}
    return Calls(sources, plans, arrival, gives_up, stops)


def serve_together(model: Model, calls: Calls) -> dict[int, tuple[Hypothesis, ...]]:
    """Let every call come and go at its own turn, all in one batch."""
    batch = RunningBatch(model, calls.plans[0].options.special)
    together, there, turn = {}, set(), 0
    while there or turn <= LAST_ARRIVAL:
        coming = [number for number in range(len(calls.sources)) if calls.arrival[number] == turn]
        if coming:
            encoded = model.encode([calls.sources[number].inputs for number in coming])
            batch.admit([Admission(n, *calls.plans[n], calls.sources[n].length) for n in coming], encoded)
            there |= set(coming)
        for number in sorted(there):
            if number in calls.gives_up and calls.arrival[number] + 2 == turn:
                batch.remove(number)
                there.remove(number)
            elif number in calls.stops and calls.arrival[number] + calls.stops[number] == turn:
                together[number] = batch.stop(number).hypotheses
                there.remove(number)
        if there:
            finished = {over.request: over.hypotheses for over in batch.step()}
            together |= finished
            there -= finished.keys()
        turn += 1
    assert batch.request_count == 0
    assert together.keys() >= set(range(len(calls.sources))) - calls.gives_up
    return together
