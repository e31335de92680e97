"""The running batch over a long life."""

from serving.decoding.options import DecodingOptions
from serving.running import Admission, RunningBatch
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, source

ENDLESS = first_order({1: {3: 1.0}, 3: {3: 1.0}}, 4)
SHORT = first_order({1: {3: 1.0}, 3: {2: 1.0}}, 4)


def admission(request, max_length=5):
    return Admission(request, DecodingOptions(1, max_length, 4, SPECIAL), None)


def test_slots_of_those_who_left_are_used_again():
    """One request stays for 200 turns while others come and go, some to their end and some not: four slots are enough."""
    model = MarkovModel([ENDLESS, SHORT])
    batch = RunningBatch(model, SPECIAL)
    batch.admit([admission(0, max_length=1000)], model.encode([source(0)]))
    for turn in range(1, 200):
        batch.admit([admission(turn)], model.encode([source(turn % 2)]))
        batch.step()
        if turn % 4 == 0:  # an endless one; the short ones end by themselves
            batch.remove(turn)
    assert batch.request_count <= 4
    assert max(int(step.source.max()) for step in model.steps) < 4


def test_states_are_copied_only_when_somebody_joins():
    """Without newcomers the step is given what the last one returned, the very same arrays."""
    given = []

    class Watching(MarkovModel):
        def step(self, inputs, memory, state, *, attention=False):
            given.append((memory["memory"], state["state.before"]))
            outputs, after = super().step(inputs, memory, state, attention=attention)
            given.append((memory["memory"], after["state.before"]))
            return outputs, after

    model = Watching([ENDLESS])
    batch = RunningBatch(model, SPECIAL)
    batch.admit([admission(0), admission(1)], model.encode([source(0), source(0)]))
    for _ in range(3):
        batch.step()
    for (memory, after), (next_memory, before) in zip(given[1::2], given[2::2], strict=False):
        assert before is after
        assert next_memory is memory
    assert len(given) == 6


def test_a_request_that_is_not_there_is_removed_without_complaint():
    batch = RunningBatch(MarkovModel([SHORT]), SPECIAL)
    batch.remove(7)
    assert (batch.request_count, batch.row_count) == (0, 0)
