"""The engine: one thread that owns all models and batches at every step. Its turn: admit -> step -> select -> emit -> evict.

    engine = Engine(models, limits)         # by key, such as "translation-en-de/1"
    engine.start()
    ticket = engine.submit(key, inputs, options, constraint, deadline)      # from any thread
    decoded = ticket.future.result()        # or: await asyncio.wrap_future(ticket.future)
    ticket.cancel()                         # or: cancel the awaiting task; the rows are gone at the next turn
    engine.stop(drain_s=10)

Models with work take turns, one step each, so that a busy model cannot starve another. With nothing to do the thread sleeps.
Whatever a model raises fails the requests that were in that call, and those alone.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from serving.decoding.constraints import Constraint
from serving.decoding.hypothesis import Hypothesis
from serving.decoding.options import DecodingOptions
from serving.decoding.request import Finished
from serving.decoding.step import Model
from serving.errors import BeamstepError, Draining, Expired, ModelFault, UnknownModel
from serving.running import Admission, RunningBatch
from serving.scheduler import Claim, Leavers, Limits, Scheduler

logger = logging.getLogger(__name__)

Inputs = Mapping[str, NDArray[np.generic]]
"""One source, as `Model.encode` takes it: no batch axis."""


@dataclass(frozen=True)
class Decoded:
    """The answer to one request, and where its time went.

    Attributes:
        hypotheses: best first, at least one.
        queue_s: from `submit` until its encoding began.
        encode_s: running the encoder on the batch it was part of.
        decode_s: from the end of encoding until its search was over.
        step_count: decoder steps it took part in.
    """

    hypotheses: tuple[Hypothesis, ...]
    queue_s: float
    encode_s: float
    decode_s: float
    step_count: int


@dataclass(frozen=True)
class Ticket:
    """What the submitter holds: a promise of the answer.

    `future` fails with Expired, Draining or ModelFault; cancelling it, or the asyncio future wrapped around it, withdraws the
    request.
    """

    future: Future[Decoded]

    def cancel(self) -> bool:
        """Withdraw the request: no answer will come. Returns whether it was in time."""
        return self.future.cancel()


@dataclass
class Counters:
    """What the engine did since it was made; written by it alone, free for anyone to read.

    Every request that was submitted ends in exactly one of finished, cancelled, expired and failed.
    """

    submitted: int = 0
    refused: int = 0
    finished: int = 0
    cancelled: int = 0
    expired: int = 0
    failed: int = 0
    encoder_runs: int = 0
    steps: int = 0
    rows: int = 0  # summed over the steps


@dataclass(frozen=True)
class Load:
    """What one model is busy with right now."""

    waiting_requests: int
    running_requests: int
    running_rows: int


class Engine:
    """Runs the searches of all models on one thread of its own."""

    def __init__(
        self,
        models: Mapping[str, Model],
        limits: Limits | Mapping[str, Limits] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an engine that is not running yet.

        Args:
            models: by key; nobody else may call them from now on.
            limits: one for every model, or by key; None takes the defaults of `Limits`.
            clock: seconds; deadlines are told in it.
        """
        limits = Limits() if limits is None else limits
        self._lanes = {
            key: _Lane(model, Scheduler(limits if isinstance(limits, Limits) else limits[key]))
            for key, model in models.items()
        }
        self._clock = clock
        self._numbers = itertools.count()
        self._condition = threading.Condition()  # guards the schedulers and the two flags
        self._accepting = False
        self._halted = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.counters = Counters()

    # ---- from any thread

    def start(self) -> None:
        """Start the thread and accept requests."""
        self._accepting = True
        self._thread.start()

    def stop(self, drain_s: float = 0.0) -> None:
        """Refuse new requests, give those there up to `drain_s` seconds, fail the rest with Draining, and end the thread.

        Returns when the thread has ended, which a model that never returns from a step can prevent.
        """
        with self._condition:
            self._accepting = False
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(drain_s)
        with self._condition:
            self._halted = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Say whether the thread is alive; readiness checks read it."""
        return self._thread.is_alive()

    def submit(
        self,
        model: str,
        inputs: Inputs,
        options: DecodingOptions,
        constraint: Constraint | None = None,
        deadline: float | None = None,
    ) -> Ticket:
        """Queue one request; never waits.

        Args:
            model: its key.
            inputs: one source.
            options: how to search.
            constraint: further tokens that may not be taken.
            deadline: when the answer is of no more use, on the engine's clock (time.monotonic unless told otherwise).

        Raises:
            UnknownModel, InvalidRequest (a beam wider than the batch), Overloaded (the queue is full), Draining (not running).
        """
        if model not in self._lanes:
            raise UnknownModel(f"model {model!r} is not loaded; loaded: {', '.join(sorted(self._lanes)) or 'none'}")
        lane = self._lanes[model]
        request = _Request(inputs, options, constraint, Future(), self._clock())
        with self._condition:
            if not self._accepting:
                raise Draining("the server is starting or shutting down; retry elsewhere")
            number = next(self._numbers)
            try:
                lane.scheduler.submit(number, Claim(options.beam_size, deadline))
            except BeamstepError:
                self.counters.refused += 1
                raise
            lane.requests[number] = request
            self.counters.submitted += 1
            self._condition.notify()
        request.future.add_done_callback(lambda future: self._withdraw(lane, number) if future.cancelled() else None)
        return Ticket(request.future)

    def load(self, model: str) -> Load:
        """Return what a model is busy with."""
        lane = self._lanes[model]
        with self._condition:
            return Load(len(lane.scheduler.waiting), len(lane.scheduler.running), lane.scheduler.rows)

    def _withdraw(self, lane: "_Lane", number: int) -> None:
        """Let the next turn evict a request that nobody waits for."""
        with self._condition:
            lane.scheduler.withdraw(number)
            self._condition.notify()

    # ---- on the engine's thread

    def _run(self) -> None:
        """Take turns until told to stop, then fail whoever is left."""
        try:
            while self._wait_for_work():
                for lane in self._lanes.values():
                    if lane.scheduler.busy:
                        self._guarded_turn(lane)
        finally:
            with self._condition:
                self._accepting = False
                left = [(lane, list(lane.requests)) for lane in self._lanes.values()]
            for lane, numbers in left:
                self._fail(lane, numbers, Draining, "the server shut down before the answer was ready; retry elsewhere")

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do; say whether to go on."""
        with self._condition:
            while not (self._halted or any(lane.scheduler.busy for lane in self._lanes.values())):
                if not self._accepting:
                    return False
                self._condition.wait()
            return not self._halted

    def _guarded_turn(self, lane: "_Lane") -> None:
        """Take a turn; whatever goes wrong in it fails the requests of this batch, and the engine goes on."""
        try:
            self._turn(lane)
        except Exception as error:
            with self._condition:
                begun = [number for number in lane.requests if number not in lane.scheduler.waiting]
            logger.exception("a turn failed; its %d requests fail, the engine goes on", len(begun))
            lane.batch = None
            self._fail(lane, begun, ModelFault, f"the decoder step failed: {error!r}")

    def _turn(self, lane: "_Lane") -> None:
        """Admit, step, select, emit, evict; for one model."""
        with self._condition:
            leavers = lane.scheduler.sweep(self._clock())
            admitted = lane.scheduler.admit()
        self._evict(lane, leavers)
        if admitted:
            self._admit(lane, admitted)
        if lane.batch is None:
            return
        self.counters.steps += 1
        self.counters.rows += lane.batch.row_count
        finished = lane.batch.step()
        if finished:
            self._emit(lane, finished)
            if not lane.batch.request_count:
                lane.batch = None  # an idle model holds no memory

    def _admit(self, lane: "_Lane", numbers: Sequence[int]) -> None:
        """Encode what was admitted in one batch, and let its rows join."""
        requests = [lane.requests[number] for number in numbers]
        began = self._clock()
        self.counters.encoder_runs += 1
        try:
            encoded = lane.model.encode([request.inputs for request in requests])
        except Exception as error:
            logger.exception("encoding failed; its %d requests fail, the engine goes on", len(numbers))
            self._fail(lane, numbers, ModelFault, f"the encoder failed: {error!r}")
            return
        ended = self._clock()
        for request in requests:
            request.encode_began, request.encode_ended = began, ended
        if lane.batch is None:
            lane.batch = RunningBatch(lane.model, requests[0].options.special)
        joining = [
            Admission(number, request.options, request.constraint)
            for number, request in zip(numbers, requests, strict=True)
        ]
        lane.batch.admit(joining, encoded)

    def _emit(self, lane: "_Lane", finished: Sequence[Finished]) -> None:
        """Answer the requests whose search is over; the batch has evicted them already."""
        now = self._clock()
        with self._condition:
            for over in finished:
                lane.scheduler.finish(over.request)
        for over in finished:
            if not over.hypotheses:
                sentence = f"the model's log-probs are not numbers at step {over.step_count}"
                self._fail(lane, [over.request], ModelFault, sentence)
                continue
            request = lane.requests.pop(over.request)
            answer = Decoded(
                over.hypotheses,
                request.encode_began - request.submitted,
                request.encode_ended - request.encode_began,
                now - request.encode_ended,
                over.step_count,
            )
            self.counters.finished += 1
            with suppress(InvalidStateError):  # cancelled at the last moment: nobody is waiting
                request.future.set_result(answer)

    def _evict(self, lane: "_Lane", leavers: Leavers) -> None:
        """Take those out of the batch who will not be answered."""
        for number in (*leavers.withdrawn, *leavers.expired):
            if lane.batch is not None:
                lane.batch.remove(number)
        if lane.batch is not None and not lane.batch.request_count:
            lane.batch = None
        for number in leavers.withdrawn:  # their futures are cancelled already
            del lane.requests[number]
            self.counters.cancelled += 1
        for number in leavers.expired:
            self.counters.expired += 1
            _reject(lane.requests.pop(number), Expired("the deadline passed before the answer was ready"))

    def _fail(self, lane: "_Lane", numbers: Sequence[int], kind: type[BeamstepError], sentence: str) -> None:
        """Fail requests, wherever they are."""
        with self._condition:
            for number in numbers:
                lane.scheduler.finish(number)
        for number in numbers:
            self.counters.failed += 1
            _reject(lane.requests.pop(number), kind(sentence))


@dataclass
class _Request:
    """One request and when what happened to it."""

    inputs: Inputs
    options: DecodingOptions
    constraint: Constraint | None
    future: Future[Decoded]
    submitted: float
    encode_began: float = 0.0
    encode_ended: float = 0.0


@dataclass
class _Lane:
    """One model with its queue, its requests by number, and the batch it is working on, if any."""

    model: Model
    scheduler: Scheduler
    batch: RunningBatch | None = None
    requests: dict[int, _Request] = field(default_factory=dict)


def _reject(request: _Request, error: BeamstepError) -> None:
    """Answer a request with an error, unless nobody waits for it any more."""
    with suppress(InvalidStateError):
        request.future.set_exception(error)
