"""One thread at work on one model: its running batches, and its turn: admit -> step -> select -> emit -> evict."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from serving.caches.memory import ModelMemoryCache
from serving.counters import Counters
from serving.decoding.request import Finished
from serving.decoding.step import Encoded, Model
from serving.errors import BeamstepError, Expired, ModelFault
from serving.groups import Groups, length_class
from serving.observer import EngineObserver, Outcome
from serving.pace import Pace
from serving.request import CacheHit, Decoded, Deliver, Request
from serving.running import Admission, RunningBatch
from serving.scheduler import NOBODY, Leavers, Scheduler
from serving.spent import NOTHING

logger = logging.getLogger(__name__)

ANSWER_S: Final = 0.02
"""How long before a deadline an answer should be ready for who wants the best by then: to be sent, and because the server counts
the deadline from when the request came, not from when it was sent."""
ANSWER_EACH_S: Final = 0.002
"""What making one answer takes, for those that are due at the same time: they are made one after the other."""


@dataclass(frozen=True)
class Shared:
    """What all hands of a lane have in common.

    Attributes:
        model: encodes and steps; called by several threads at once where there are several hands.
        scheduler: who waits and who runs; guarded by `lock`.
        requests: by number; added to under `lock`, taken out by the hand that has the request.
        pace: what work took of late. Hands may lose a measurement to each other, which a running mean bears.
        lock: the engine's.
    """

    model: Model
    scheduler: Scheduler
    requests: dict[int, Request]
    pace: Pace
    lock: threading.RLock
    clock: Callable[[], float]
    counters: Counters
    deliver: Deliver
    cache: ModelMemoryCache | None
    key: str
    observer: EngineObserver


class Hand:
    """One of those who work on a lane; all of it belongs to one thread of the engine.

    Attributes:
        held: the requests that it admitted and that are not over.
        at_work: whether a turn is under way.
    """

    def __init__(self, lane: Shared, number: int) -> None:
        self.held: set[int] = set()
        self.at_work = False
        self._lane = lane
        self._number = number
        self._groups = Groups()
        self._streaming: set[int] = set()  # running requests that are told of their progress

    def turn(self) -> None:
        """Take a turn; whatever goes wrong in it fails the requests that this hand has, and the engine goes on."""
        self.at_work = True
        try:
            self._turn()
        except Exception as error:
            logger.exception("a turn failed; its %d requests fail, the engine goes on", len(self.held))
            self.fail(list(self.held), ModelFault, f"the decoder step failed: {error!r}")
            self._groups.clear()
        finally:
            self.at_work = False

    def fail(self, numbers: Sequence[int], kind: type[BeamstepError], sentence: str) -> None:
        """Fail requests, wherever they are."""
        with self._lane.lock:
            for number in numbers:
                self._lane.scheduler.finish(number)
        for number in numbers:
            self._lane.counters.add(failed=1)
            self._forget(number, "failed").reject(kind(sentence))

    def _turn(self) -> None:
        began = self._lane.clock()
        with self._lane.lock:
            leavers = self._lane.scheduler.sweep(began, self._number)
            admitted = self._lane.scheduler.admit(self._number)
        self.held.update(admitted)
        if leavers is not NOBODY:
            self.held.update(leavers.withdrawn, leavers.expired, leavers.displaced)
            self._evict(leavers)
        if admitted:
            self._admit(admitted)
        if not self._groups:
            return
        group = self._groups.next()
        batch = group.batch
        rows, sources = batch.row_count, batch.request_count
        self._lane.counters.add(steps=1, rows=rows)
        stepping = self._lane.clock()
        inputs = batch.prepare()
        running = self._lane.clock()
        outputs = batch.run(inputs)
        selecting = self._lane.clock()
        finished = batch.select(outputs)
        now = self._lane.clock()
        self._lane.pace.stepped(now, now - stepping, None if group.last_turn is None else began - group.last_turn)
        group.last_turn = began
        self._groups.stepped(group, now - stepping)
        graph_s = selecting - running
        search_s = now - stepping - graph_s
        batch.spent = batch.spent.plus(graph_s, search_s)
        if finished:
            self._emit(finished)
        if self._lane.scheduler.next_return < math.inf:
            self._return_best(now)
        for number in self._streaming:
            if self._groups.of(number) is batch:
                self._report(number)
        turn_s = self._lane.clock() - began
        self._lane.observer.stepped(self._lane.key, rows, sources, graph_s=graph_s, search_s=search_s, turn_s=turn_s)

    def _admit(self, numbers: Sequence[int]) -> None:
        """Encode what was admitted, sources of like length in one batch, and let its rows join."""
        alike: dict[int, list[int]] = {}
        for number in numbers:
            alike.setdefault(length_class(self._lane.requests[number].source_length), []).append(number)
        for some in alike.values():
            missing = some if self._lane.cache is None else [number for number in some if not self._remember(number)]
            if missing:
                self._encode(missing)

    def _remember(self, number: int) -> bool:
        """Let a request join whose source was encoded before; say whether it was."""
        assert self._lane.cache is not None
        request = self._lane.requests[number]
        request.memory_key = self._lane.cache.key(request.inputs)
        encoded = self._lane.cache.get(request.memory_key)
        if encoded is None:
            return False
        now = self._lane.clock()
        request.cache_hit = CacheHit.MEMORY
        self._join([number], encoded, now, now)
        return True

    def _encode(self, numbers: Sequence[int]) -> None:
        requests = [self._lane.requests[number] for number in numbers]
        began = self._lane.clock()
        self._lane.counters.add(encoder_runs=1)
        try:
            encoded = self._lane.model.encode([request.inputs for request in requests])
        except Exception as error:
            logger.exception("encoding failed; its %d requests fail, the engine goes on", len(numbers))
            self.fail(numbers, ModelFault, f"the encoder failed: {error!r}")
            return
        ended = self._lane.clock()
        self._lane.pace.encoded(ended - began)
        width = encoded.memory["memory_mask"].shape[1]
        real = sum(min(request.source_length or width, width) for request in requests)
        self._lane.observer.encoded(self._lane.key, len(requests), real, len(requests) * width, ended - began)
        if self._lane.cache is not None:
            self._lane.cache.put([request.memory_key for request in requests], encoded)
        self._join(numbers, encoded, began, ended)

    def _join(self, numbers: Sequence[int], encoded: Encoded, began: float, ended: float) -> None:
        """Let requests of sources of like length take part from the next step on; `encoded` has theirs in the same order."""
        requests = [self._lane.requests[number] for number in numbers]
        special = requests[0].options.special
        group = self._groups.home(requests[0].source_length, lambda: RunningBatch(self._lane.model, special))
        joining = []
        for number, request in zip(numbers, requests, strict=True):
            request.encode_began, request.encode_ended = began, ended
            request.joined_step, request.spent_before = group.batch.step_count, group.batch.spent
            joining.append(Admission(number, request.options, request.constraint, request.source_length))
            self._groups.joined(number, group)
            if request.on_progress is not None:
                self._streaming.add(number)
        group.batch.admit(joining, encoded)

    def _emit(self, finished: Sequence[Finished], *, deadline_reached: bool = False) -> None:
        """Answer the requests whose search is over; the batch has evicted them already."""
        now = self._lane.clock()
        with self._lane.lock:
            for over in finished:
                self._lane.scheduler.finish(over.request)
        answers: list[tuple[Request, Decoded]] = []
        for over in finished:
            if not over.hypotheses:
                sentence = f"the model's log-probs are not numbers at step {over.step_count}"
                self.fail([over.request], ModelFault, sentence)
                continue
            batch = self._groups.of(over.request)
            request = self._forget(over.request, "finished")
            self._lane.counters.add(finished=1, returned_early=int(deadline_reached))
            if not deadline_reached:
                self._lane.pace.answered(now, over.step_count, request.source_length)
            spent = NOTHING if batch is None else batch.spent.since(request.spent_before)
            decoded = request.decoded(over.hypotheses, over.step_count, now, spent, deadline_reached=deadline_reached)
            answers.append((request, decoded))
        if answers:
            self._lane.deliver(lambda: _hand_over(answers))

    def _return_best(self, now: float) -> None:
        """Answer those whose deadline is near with their best so far: before the turn after this one could be too late."""
        with self._lane.lock:
            lead = (
                ANSWER_S
                + 1.5 * self._lane.pace.turn_s
                + (self._lane.pace.encode_s if self._lane.scheduler.waiting else 0.0)
            )
            due = self._lane.scheduler.due(now, lead, ANSWER_EACH_S, self._number)
        for number in due:
            batch = self._groups.of(number)
            assert batch is not None
            best = batch.stop(number)
            if best.hypotheses:
                self._emit([best], deadline_reached=True)
            else:
                self._expire(number)

    def _report(self, number: int) -> None:
        """Tell a request how far it has come."""
        batch, on_progress = self._groups.of(number), self._lane.requests[number].on_progress
        assert batch is not None
        assert on_progress is not None
        on_progress(batch.progress(number))

    def _evict(self, leavers: Leavers) -> None:
        """Take those out of the batch who will not be answered."""
        leaving = (*leavers.withdrawn, *leavers.expired)
        rows = self._groups.row_count if leaving else 0
        for number in leaving:
            batch = self._groups.of(number)
            if batch is not None:
                batch.remove(number)
        for number in leavers.withdrawn:  # their futures are cancelled already
            self._forget(number, "cancelled")
            self._lane.counters.add(cancelled=1)
        for number in leavers.displaced:  # they have been told already
            self._forget(number, "displaced")
            self._lane.counters.add(displaced=1)
        for number in leavers.expired:
            self._expire(number)
        if leaving:
            self._lane.counters.add(evicted_rows=rows - self._groups.row_count)

    def _expire(self, number: int) -> None:
        """Fail a request that has no rows any more for its deadline."""
        with self._lane.lock:
            self._lane.scheduler.finish(number)
        self._lane.counters.add(expired=1)
        self._forget(number, "expired").reject(Expired("the deadline passed before the answer was ready"))

    def _forget(self, number: int, outcome: Outcome) -> Request:
        """Return a request that this hand has done with."""
        request, batch = self._lane.requests.pop(number), self._groups.of(number)
        steps = 0 if batch is None else batch.step_count - request.joined_step
        queue_s = (request.encode_began or self._lane.clock()) - request.submitted
        self._streaming.discard(number)
        self.held.discard(number)
        self._groups.left(number)
        self._lane.observer.ended(self._lane.key, outcome, steps, queue_s)
        return request


def _hand_over(answers: Sequence[tuple[Request, Decoded]]) -> None:
    for request, decoded in answers:
        request.answer(decoded)
