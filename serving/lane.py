"""One model at work: its queue, its running batches, and its turn: admit -> step -> select -> emit -> evict."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from serving.caches.memory import ModelMemoryCache
from serving.decoding.request import Finished
from serving.decoding.step import Encoded, Model
from serving.errors import BeamstepError, Expired, ModelFault
from serving.groups import Groups, length_class
from serving.observer import NOBODY, EngineObserver, Outcome
from serving.pace import Pace
from serving.request import CacheHit, Decoded, Deliver, Request
from serving.running import Admission, RunningBatch
from serving.scheduler import Leavers, Limits, Scheduler

logger = logging.getLogger(__name__)

ANSWER_S: Final = 0.02
"""How long before a deadline an answer should be ready for who wants the best by then: to be sent, and because the server counts
the deadline from when the request came, not from when it was sent."""
ANSWER_EACH_S: Final = 0.002
"""What making one answer takes, for those that are due at the same time: they are made one after the other."""


@dataclass
class Counters:
    """What the engine did since it was made; written by it alone, free for anyone to read.

    Every request that was submitted ends in exactly one of finished, cancelled, expired, displaced and failed.

    Attributes:
        submitted: taken into a queue.
        refused: turned away because the queue was full.
        hopeless: turned away because their deadline could not be met.
        finished: answered.
        returned_early: those of them that were answered with their best so far when their deadline came.
        cancelled: withdrawn by the caller, waiting or running.
        expired: overtaken by their deadline, waiting or running.
        displaced: had to leave a full queue for others, see `FairQueue.displaced_by`.
        failed: by a fault of the model, or the end of the engine.
        evicted_rows: rows that were in a batch when their request was cancelled or expired.
        encoder_runs: of all models.
        steps: of all models.
        rows: summed over the steps.
    """

    submitted: int = 0
    refused: int = 0
    hopeless: int = 0
    finished: int = 0
    returned_early: int = 0
    cancelled: int = 0
    expired: int = 0
    displaced: int = 0
    failed: int = 0
    evicted_rows: int = 0
    encoder_runs: int = 0
    steps: int = 0
    rows: int = 0


class Lane:
    """One model with its queue, its requests by number, and the batches it is working on.

    Everything but `scheduler`, and adding to `requests`, belongs to the engine's thread; `lock` guards those two.
    """

    def __init__(
        self,
        model: Model,
        limits: Limits,
        *,
        clock: Callable[[], float],
        lock: threading.Condition,
        counters: Counters,
        deliver: Deliver,
        cache: ModelMemoryCache | None = None,
        key: str = "",
        observer: EngineObserver = NOBODY,
    ) -> None:
        self._cache = cache
        self.scheduler = Scheduler(limits)
        self.requests: dict[int, Request] = {}
        self.pace = Pace()
        self._model = model
        self._clock = clock
        self._lock = lock
        self._counters = counters
        self._deliver = deliver
        self._key = key
        self._observer = observer
        self._groups = Groups()
        self._streaming: set[int] = set()  # running requests that are told of their progress

    def turn(self) -> None:
        """Take a turn; whatever goes wrong in it fails this model's running requests, and the engine goes on."""
        try:
            self._turn()
        except Exception as error:
            with self._lock:
                elsewhere = {*self.scheduler.waiting, *self.scheduler.displaced}
                begun = [number for number in self.requests if number not in elsewhere]
            logger.exception("a turn failed; its %d requests fail, the engine goes on", len(begun))
            self.fail(begun, ModelFault, f"the decoder step failed: {error!r}")
            self._groups.clear()

    def fail(self, numbers: Sequence[int], kind: type[BeamstepError], sentence: str) -> None:
        """Fail requests, wherever they are."""
        with self._lock:
            for number in numbers:
                self.scheduler.finish(number)
        for number in numbers:
            self._counters.failed += 1
            self._forget(number, "failed").reject(kind(sentence))

    def _turn(self) -> None:
        began = self._clock()
        with self._lock:
            leavers = self.scheduler.sweep(began)
            admitted = self.scheduler.admit()
        self._evict(leavers)
        if admitted:
            self._admit(admitted)
        if not self._groups:
            return
        group = self._groups.next()
        batch = group.batch
        rows, sources = batch.row_count, batch.request_count
        self._counters.steps += 1
        self._counters.rows += rows
        stepping = self._clock()
        inputs = batch.prepare()
        running = self._clock()
        outputs = batch.run(inputs)
        selecting = self._clock()
        finished = batch.select(outputs)
        now = self._clock()
        self.pace.stepped(now, now - stepping, None if group.last_turn is None else began - group.last_turn)
        group.last_turn = began
        self._groups.stepped(group, now - stepping)
        if finished:
            self._emit(finished)
        if self.scheduler.next_return < math.inf:
            self._return_best(now)
        for number in self._streaming:
            if self._groups.of(number) is batch:
                self._report(number)
        graph_s = selecting - running
        search_s, turn_s = now - stepping - graph_s, self._clock() - began
        self._observer.stepped(self._key, rows, sources, graph_s=graph_s, search_s=search_s, turn_s=turn_s)

    def _admit(self, numbers: Sequence[int]) -> None:
        """Encode what was admitted, sources of like length in one batch, and let its rows join."""
        alike: dict[int, list[int]] = {}
        for number in numbers:
            alike.setdefault(length_class(self.requests[number].source_length), []).append(number)
        for some in alike.values():
            missing = some if self._cache is None else [number for number in some if not self._remember(number)]
            if missing:
                self._encode(missing)

    def _remember(self, number: int) -> bool:
        """Let a request join whose source was encoded before; say whether it was."""
        assert self._cache is not None
        request = self.requests[number]
        request.memory_key = self._cache.key(request.inputs)
        encoded = self._cache.get(request.memory_key)
        if encoded is None:
            return False
        now = self._clock()
        request.cache_hit = CacheHit.MEMORY
        self._join([number], encoded, now, now)
        return True

    def _encode(self, numbers: Sequence[int]) -> None:
        requests = [self.requests[number] for number in numbers]
        began = self._clock()
        self._counters.encoder_runs += 1
        try:
            encoded = self._model.encode([request.inputs for request in requests])
        except Exception as error:
            logger.exception("encoding failed; its %d requests fail, the engine goes on", len(numbers))
            self.fail(numbers, ModelFault, f"the encoder failed: {error!r}")
            return
        ended = self._clock()
        self.pace.encoded(ended - began)
        width = encoded.memory["memory_mask"].shape[1]
        real = sum(min(request.source_length or width, width) for request in requests)
        self._observer.encoded(self._key, len(requests), real, len(requests) * width, ended - began)
        if self._cache is not None:
            self._cache.put([request.memory_key for request in requests], encoded)
        self._join(numbers, encoded, began, ended)

    def _join(self, numbers: Sequence[int], encoded: Encoded, began: float, ended: float) -> None:
        """Let requests of sources of like length take part from the next step on; `encoded` has theirs in the same order."""
        requests = [self.requests[number] for number in numbers]
        special = requests[0].options.special
        group = self._groups.home(requests[0].source_length, lambda: RunningBatch(self._model, special))
        joining = []
        for number, request in zip(numbers, requests, strict=True):
            request.encode_began, request.encode_ended = began, ended
            request.joined_step = group.batch.step_count
            joining.append(Admission(number, request.options, request.constraint, request.source_length))
            self._groups.joined(number, group)
            if request.on_progress is not None:
                self._streaming.add(number)
        group.batch.admit(joining, encoded)

    def _emit(self, finished: Sequence[Finished], *, deadline_reached: bool = False) -> None:
        """Answer the requests whose search is over; the batch has evicted them already."""
        now = self._clock()
        with self._lock:
            for over in finished:
                self.scheduler.finish(over.request)
        answers: list[tuple[Request, Decoded]] = []
        for over in finished:
            if not over.hypotheses:
                sentence = f"the model's log-probs are not numbers at step {over.step_count}"
                self.fail([over.request], ModelFault, sentence)
                continue
            request = self._forget(over.request, "finished")
            self._counters.finished += 1
            self._counters.returned_early += deadline_reached
            if not deadline_reached:
                self.pace.answered(now, over.step_count, request.source_length)
            decoded = request.decoded(over.hypotheses, over.step_count, now, deadline_reached=deadline_reached)
            answers.append((request, decoded))
        if answers:
            self._deliver(lambda: _hand_over(answers))

    def _return_best(self, now: float) -> None:
        """Answer those whose deadline is near with their best so far: before the turn after this one could be too late."""
        with self._lock:
            lead = ANSWER_S + 1.5 * self.pace.turn_s + (self.pace.encode_s if self.scheduler.waiting else 0.0)
            due = self.scheduler.due(now, lead, ANSWER_EACH_S)
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
        batch, on_progress = self._groups.of(number), self.requests[number].on_progress
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
            self._counters.cancelled += 1
        for number in leavers.displaced:  # they have been told already
            self._forget(number, "displaced")
            self._counters.displaced += 1
        for number in leavers.expired:
            self._expire(number)
        self._counters.evicted_rows += rows - self._groups.row_count if leaving else 0

    def _expire(self, number: int) -> None:
        """Fail a request that has no rows any more for its deadline."""
        with self._lock:
            self.scheduler.finish(number)
        self._counters.expired += 1
        self._forget(number, "expired").reject(Expired("the deadline passed before the answer was ready"))

    def _forget(self, number: int, outcome: Outcome) -> Request:
        """Return a request that the lane has done with."""
        request, batch = self.requests.pop(number), self._groups.of(number)
        steps = 0 if batch is None else batch.step_count - request.joined_step
        queue_s = (request.encode_began or self._clock()) - request.submitted
        self._streaming.discard(number)
        self._groups.left(number)
        self._observer.ended(self._key, outcome, steps, queue_s)
        return request


def _hand_over(answers: Sequence[tuple[Request, Decoded]]) -> None:
    for request, decoded in answers:
        request.answer(decoded)
