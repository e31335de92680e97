"""The engine: one thread that owns all models and batches at every step. Its turn: admit -> step -> select -> emit -> evict.

    engine = Engine(models, limits)         # by key, such as "translation-en-de/1"
    engine.start()
    ticket = engine.submit(key, inputs, options, constraint, deadline=...)  # from any thread
    decoded = ticket.future.result()        # or: await asyncio.wrap_future(ticket.future)
    ticket.cancel()                         # or: cancel the awaiting task; the rows are gone at the next turn
    engine.stop(drain_s=10)

Models with work take turns, one step each, so that a busy model cannot starve another. With nothing to do the thread sleeps.
Whatever a model raises fails the requests that were in that call, and those alone.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from serving.caches.memory import MemoryCache
from serving.claim import Claim, Priority
from serving.decoding.constraints import Constraint
from serving.decoding.options import DecodingOptions
from serving.decoding.step import Model
from serving.errors import Draining, Expired, Overloaded, UnknownModel
from serving.lane import Counters, Lane
from serving.request import Deliver, Inputs, OnProgress, Request, Ticket
from serving.scheduler import Limits

MOST_MADE: Final = 16
"""How many models that were made for requests, such as ensembles, there are at a time."""


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
        deliver: Deliver = lambda hand_over: hand_over(),
        memory_cache: MemoryCache | None = None,
    ) -> None:
        """Make an engine that is not running yet.

        Args:
            models: by key; nobody else may call them from now on.
            limits: one for every model, or by key, "" standing for all others; None takes the defaults of `Limits`.
            clock: seconds; deadlines are told in it.
            deliver: calls the function it is given, at once or on another thread, which answers all requests that were over in one
                turn; an event loop's call_soon_threadsafe wakes the loop once instead of once an answer.
            memory_cache: sources that were encoded before; None keeps none.
        """
        self._deliver = deliver
        self._memory_cache = memory_cache
        self._limits = Limits() if limits is None else limits
        self._clock = clock
        self._numbers = itertools.count()
        self._condition = threading.Condition()  # guards the lanes, their schedulers and the two flags
        self._accepting = False
        self._halted = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.counters = Counters()
        self.models: Final = dict(models)
        self._lanes = {key: self._lane(model, self._limits_of(key)) for key, model in models.items()}

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
        *,
        deadline: float | None = None,
        return_best: bool = False,
        source_length: int = 0,
        on_progress: OnProgress | None = None,
        make: Callable[[], Model] | None = None,
        client: str = "",
        priority: Priority = Priority.NORMAL,
    ) -> Ticket:
        """Queue one request; never waits.

        Args:
            model: its key.
            inputs: one source.
            options: how to search.
            constraint: further tokens that may not be taken.
            deadline: when the answer is of no more use, on the engine's clock (time.monotonic unless told otherwise).
            return_best: whether to answer with the best so far shortly before the deadline, instead of failing.
            source_length: positions of the source, which attention is cut to; 0 takes those of its memory.
            on_progress: told after every step how far the search has come.
            make: makes the model where there is none of this key yet, of models that are there: an ensemble. It works under the
                same limits as `models` by default, and may be forgotten when nobody uses it.
            client: who asks; those that wait share the model by it.
            priority: how urgent it is.

        Raises:
            UnknownModel, InvalidRequest (a beam wider than the batch), Draining (not running),
            Overloaded (the queue is full, or as many models as may be were made for others; later also where the request has to
            leave a full queue for a client with fewer in it),
            Expired (the deadline cannot be met, by the quickest work of late).
        """
        if model not in self._lanes and make is None:
            raise UnknownModel(f"model {model!r} is not loaded; loaded: {', '.join(sorted(self.models)) or 'none'}")
        now = self._clock()
        request = Request(inputs, options, constraint, source_length, on_progress, Future(), now)
        with self._condition:
            if not self._accepting:
                raise Draining("the server is starting or shutting down; retry elsewhere")
            lane = self._lanes.get(model)
            if lane is None:
                assert make is not None
                lane = self._make_lane(model, make)
            number = next(self._numbers)
            self._check_deadline(lane, request, deadline, return_best=return_best)
            claim = Claim(options.beam_size, deadline, return_best, source_length, client, priority)
            with self._refusing(lane):
                displaced = lane.scheduler.submit(number, claim)
            leaver = None if displaced is None else lane.requests[displaced]
            retry_s = lane.pace.retry_after_s(len(lane.scheduler.waiting))
            lane.requests[number] = request
            self.counters.submitted += 1
            self._condition.notify()
        if leaver is not None:
            leaver.reject(Overloaded("the queue is full and others have fewer requests in it; retry later", retry_s))
        request.future.add_done_callback(lambda future: self._withdraw(lane, number) if future.cancelled() else None)
        return Ticket(request.future)

    def check_room(self, model: str, client: str = "", priority: Priority = Priority.NORMAL) -> None:
        """Refuse a request that `submit` would refuse for a full queue, before anybody prepares it.

        Raises:
            Overloaded: see `submit`.
        """
        lane = self._lanes.get(model)
        if lane is not None:
            with self._condition, self._refusing(lane):
                lane.scheduler.check_room(client, priority)

    def load(self, model: str) -> Load:
        """Return what a model is busy with."""
        lane = self._lanes[model]
        with self._condition:
            return Load(len(lane.scheduler.waiting), len(lane.scheduler.running), lane.scheduler.rows)

    @contextmanager
    def _refusing(self, lane: Lane) -> Iterator[None]:
        """Count a refusal, and say when there may be room."""
        try:
            yield
        except Overloaded as error:
            self.counters.refused += 1
            raise Overloaded(str(error), lane.pace.retry_after_s(len(lane.scheduler.waiting))) from None

    def _limits_of(self, key: str) -> Limits:
        if isinstance(self._limits, Limits):
            return self._limits
        return self._limits.get(key) or self._limits.get("") or Limits()

    def _check_deadline(self, lane: Lane, request: Request, deadline: float | None, *, return_best: bool) -> None:
        """Refuse a request that cannot be answered in time even if it were alone and greedy."""
        if deadline is None:
            return
        options = request.options
        if return_best:
            needed = lane.pace.least_s(request.submitted, 1, 1, 0)
        else:
            needed = lane.pace.least_s(
                request.submitted, options.least_steps, options.max_length + 1, request.source_length
            )
        left = deadline - request.submitted
        if 0 < left < needed:
            self.counters.hopeless += 1
            raise Expired(
                f"the deadline is in {1000 * left:.1f} ms, and the quickest answer takes {1000 * needed:.1f} ms here"
            )

    def _lane(self, model: Model, limits: Limits) -> Lane:
        return Lane(
            model,
            limits,
            clock=self._clock,
            lock=self._condition,
            counters=self.counters,
            deliver=self._deliver,
            cache=None if self._memory_cache is None else self._memory_cache.of_model(),
        )

    def _make_lane(self, key: str, make: Callable[[], Model]) -> Lane:
        """Add a lane for a model that is made of others; the oldest that nobody uses makes room.

        Raises:
            Overloaded: all are in use; as many lanes as there are requests would know no limits, each having its own.
        """
        made = [other for other in self._lanes if other not in self.models]
        excess = len(made) + 1 - MOST_MADE
        idle = [other for other in made if not self._lanes[other].scheduler.busy][: max(0, excess)]
        if len(idle) < excess:
            self.counters.refused += 1
            retry_s = min(self._lanes[other].pace.retry_after_s(1) for other in made)
            raise Overloaded(f"{len(made)} other ensembles are at work; retry later", retry_s)
        # A new dictionary, for the engine's thread may be going through the old one.
        self._lanes = {other: lane for other, lane in self._lanes.items() if other not in idle}
        self._lanes[key] = self._lane(make(), self._limits_of(key))
        return self._lanes[key]

    def _withdraw(self, lane: Lane, number: int) -> None:
        """Let the next turn evict a request that nobody waits for."""
        with self._condition:
            lane.scheduler.withdraw(number)
            self._condition.notify()

    # ---- on the engine's thread

    def _run(self) -> None:
        """Take turns until told to stop, then fail whoever is left."""
        try:
            while not self._halted:
                busy = [lane for lane in self._lanes.values() if lane.scheduler.busy]
                for lane in busy:
                    lane.turn()
                if not busy and not self._wait_for_work():
                    break
        finally:
            with self._condition:
                self._accepting = False
                left = [(lane, list(lane.requests)) for lane in self._lanes.values()]
            for lane, numbers in left:
                lane.fail(numbers, Draining, "the server shut down before the answer was ready; retry elsewhere")

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do; say whether to go on."""
        with self._condition:
            while not (self._halted or any(lane.scheduler.busy for lane in self._lanes.values())):
                if not self._accepting:
                    return False
                self._condition.wait()
            return not self._halted
