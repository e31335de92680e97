"""The engine: threads that own all models and batch at every step. A turn: admit -> step -> select -> emit -> evict.

    engine = Engine(models, limits)         # by key, such as "translation-en-de/1"
    engine.start()
    ticket = engine.submit(key, inputs, options, constraint, deadline=...)  # from any thread
    decoded = ticket.future.result()        # or: await asyncio.wrap_future(ticket.future)
    ticket.cancel()                         # or: cancel the awaiting task; the rows are gone at the next turn
    engine.stop(drain_s=10)

Models with work take turns, one step each, so that a busy model cannot starve another. With nothing to do a thread sleeps.
Each has batches of its own and runs its graphs beside the others' (`Hand`): two that run a graph on a core each do more than one
that runs it on two, and one encodes or selects while the other steps. A request stays with one of them.
Models come and go while others work: `add`, and `retire`, after which those there are answered and then the model is let go.
Whatever a model raises fails the requests that were in that call, and those alone.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from serving.caches.memory import MemoryCache
from serving.claim import Claim, Priority
from serving.counters import Counters
from serving.decoding.constraints import Constraint
from serving.decoding.options import DecodingOptions
from serving.decoding.step import Model
from serving.errors import Draining, Expired, Overloaded, UnknownModel
from serving.lane import Lane
from serving.observer import NOBODY, EngineObserver
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


@dataclass(frozen=True)
class Leaving:
    """A retired model: no request comes any more, those there are finish.

    Attributes:
        lanes: its own, and those of ensembles that it is a member of.
        gone: done when all of them are idle and let go.
    """

    lanes: tuple[Lane, ...]
    gone: Future[None]

    @property
    def busy(self) -> bool:
        """Say whether a request is still there."""
        return any(lane.busy for lane in self.lanes)


class Engine:
    """Runs the searches of all models on threads of its own.

    Attributes:
        counters: what it did so far.
        models: by key, as they are now; never changed, but replaced by another mapping where a model comes or goes.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        limits: Limits | Mapping[str, Limits] | None = None,
        *,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        deliver: Deliver = lambda hand_over: hand_over(),
        memory_cache: MemoryCache | None = None,
        observer: EngineObserver = NOBODY,
    ) -> None:
        """Make an engine that is not running yet.

        Args:
            models: by key; nobody else may call them from now on. Several threads call one at once.
            limits: one for every model, or by key, "" standing for all others; None takes the defaults of `Limits`.
            threads: how many work, from 1.
            clock: seconds; deadlines are told in it.
            deliver: calls the function it is given, at once or on another thread, which answers all requests that were over in one
                turn; an event loop's call_soon_threadsafe wakes the loop once instead of once an answer.
            memory_cache: sources that were encoded before; None keeps none.
            observer: is told of all work, on the engine's threads.
        """
        self._deliver = deliver
        self._memory_cache = memory_cache
        self._observer = observer
        self._limits = Limits() if limits is None else limits
        self._clock = clock
        self._numbers = itertools.count()
        self._lock = threading.RLock()  # guards the lanes, their schedulers and the flags
        self._bells = [threading.Condition(self._lock) for _ in range(threads)]
        self._asleep: set[int] = set()  # threads that nobody has woken yet
        self._accepting = False
        self._halted = False
        self._ended = False
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"engine-{number}", daemon=True)
            for number in range(threads)
        ]
        self._left = threads  # that have not ended
        self.counters = Counters()
        self.models: Mapping[str, Model] = dict(models)
        # Never changed but replaced, for the engine's thread may be going through them.
        self._lanes = {key: self._lane(key, model, self._limits_of(key)) for key, model in models.items()}
        self._background: frozenset[str] = frozenset()  # keys of lanes that work when no other does
        self._members: Mapping[str, Sequence[str]] = {}  # of the lanes that were made for requests
        self._leaving: tuple[Leaving, ...] = ()

    # ---- from any thread

    def start(self) -> None:
        """Start the threads and accept requests."""
        self._accepting = True
        for thread in self._threads:
            thread.start()

    def stop(self, drain_s: float = 0.0) -> None:
        """Refuse new requests, give those there up to `drain_s` seconds, fail the rest with Draining, and end the threads.

        Returns when they have ended, which a model that never returns from a step can prevent.
        """
        with self._lock:
            self._accepting = False
            self._wake_all()
        until = time.monotonic() + drain_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            self._halted = True
            self._wake_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Say whether its threads are alive; readiness checks read it."""
        return all(thread.is_alive() for thread in self._threads)

    def add(self, key: str, model: Model, *, limits: Limits | None = None, background: bool = False) -> None:
        """Take requests for one more model.

        Args:
            key: no model that is there has it; one that was retired and is not gone yet may.
            model: nobody else may call it from now on. It may be there under another key.
            limits: its own; None takes those of its key, or of all others.
            background: whether it works only when no other model has anything to do.

        Raises:
            Draining: the engine was stopped.
        """
        with self._lock:
            if self._halted or self._ended:
                raise Draining("the server is shutting down")
            assert key not in self._lanes, f"{key} is there"
            self.models = {**self.models, key: model}
            self._lanes = {**self._lanes, key: self._lane(key, model, limits or self._limits_of(key))}
            self._background |= {key} if background else set()

    def retire(self, key: str) -> "Future[None]":
        """Take no more requests for a model; those there are finish, waiting or running, and then it is let go.

        Ensembles that it is a member of go with it.

        Returns:
            what is done when it is gone. Whoever asks for the model from now on gets UnknownModel.

        Raises:
            UnknownModel: there is none of this key.
        """
        with self._lock:
            self._check_known(key)
            keys = {key, *(made for made, members in self._members.items() if key in members)}
            leaving = Leaving(tuple(self._lanes[other] for other in keys), Future())
            self.models = {other: model for other, model in self.models.items() if other != key}
            self._lanes = {other: lane for other, lane in self._lanes.items() if other not in keys}
            self._members = {made: members for made, members in self._members.items() if made not in keys}
            self._background -= {key}
            working = self.running and not self._ended
            if working:
                self._leaving = (*self._leaving, leaving)
                self._wake_all()
        if not working:
            leaving.gone.set_result(None)
        return leaving.gone

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
        members: Sequence[str] = (),
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
            members: keys of the models that `make` uses.
            client: who asks; those that wait share the model by it.
            priority: how urgent it is.

        Raises:
            UnknownModel, InvalidRequest (a beam wider than the batch), Draining (not running),
            Overloaded (the queue is full, or as many models as may be were made for others; later also where the request has to
            leave a full queue for a client with fewer in it),
            Expired (the deadline cannot be met, by the quickest work of late).
        """
        if make is None:
            self._check_known(model)
        now = self._clock()
        request = Request(inputs, options, constraint, source_length, on_progress, Future(), now)
        with self._lock:
            if not self._accepting:
                raise Draining("the server is starting or shutting down; retry elsewhere")
            lane = self._lanes.get(model)
            if lane is None:
                if make is None:  # retired a moment ago
                    self._check_known(model)
                    raise AssertionError("a model without a lane")
                lane = self._make_lane(model, make, members)
            number = next(self._numbers)
            self._check_deadline(lane, request, deadline, return_best=return_best)
            claim = Claim(options.beam_size, deadline, return_best, source_length, client, priority)
            with self._refusing(lane):
                displaced = lane.scheduler.submit(number, claim)
            leaver = None if displaced is None else lane.requests[displaced]
            retry_s = lane.pace.retry_after_s(len(lane.scheduler.waiting))
            lane.requests[number] = request
            self.counters.add(submitted=1)
            self._wake_one()
        if leaver is not None:
            leaver.reject(Overloaded("the queue is full and others have fewer requests in it; retry later", retry_s))
        request.future.add_done_callback(lambda future: self._withdraw(lane, number) if future.cancelled() else None)
        return Ticket(request.future)

    @property
    def full(self) -> bool:
        """Say whether the queue of some model is full; a look without the lock, for what is asked at every call."""
        return any(lane.scheduler.full for lane in self._lanes.values())

    def check_room(self, model: str, client: str = "", priority: Priority = Priority.NORMAL) -> None:
        """Refuse a request that `submit` would refuse for a full queue, before anybody prepares it.

        Raises:
            Overloaded: see `submit`.
        """
        lane = self._lanes.get(model)
        if lane is not None:
            with self._lock, self._refusing(lane):
                lane.scheduler.check_room(client, priority)

    def load(self, model: str) -> Load:
        """Return what a model is busy with."""
        lane = self._lanes[model]
        with self._lock:
            return Load(len(lane.scheduler.waiting), len(lane.scheduler.running), lane.scheduler.rows)

    def loads(self) -> dict[str, Load]:
        """Return what every model is busy with, ensembles that were made for requests among them."""
        with self._lock:
            schedulers = {key: lane.scheduler for key, lane in self._lanes.items()}
            return {key: Load(len(s.waiting), len(s.running), s.rows) for key, s in schedulers.items()}

    @contextmanager
    def _refusing(self, lane: Lane) -> Iterator[None]:
        """Count a refusal, and say when there may be room."""
        try:
            yield
        except Overloaded as error:
            self.counters.add(refused=1)
            raise Overloaded(str(error), lane.pace.retry_after_s(len(lane.scheduler.waiting))) from None

    def _limits_of(self, key: str) -> Limits:
        if isinstance(self._limits, Limits):
            return self._limits
        return self._limits.get(key) or self._limits.get("") or Limits()

    def _check_known(self, key: str) -> None:
        """Raise UnknownModel where there is no model of this key; ensembles are none."""
        if key not in self.models:
            loaded = ", ".join(sorted(self.models.keys() - self._background)) or "none"
            raise UnknownModel(f"model {key!r} is not loaded; loaded: {loaded}")

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
            self.counters.add(hopeless=1)
            raise Expired(
                f"the deadline is in {1000 * left:.1f} ms, and the quickest answer takes {1000 * needed:.1f} ms here"
            )

    def _lane(self, key: str, model: Model, limits: Limits) -> Lane:
        return Lane(
            model,
            limits,
            clock=self._clock,
            lock=self._lock,
            counters=self.counters,
            deliver=self._deliver,
            cache=None if self._memory_cache is None else self._memory_cache.of_model(),
            key=key,
            observer=self._observer,
            hands=len(self._threads),
        )

    def _make_lane(self, key: str, make: Callable[[], Model], members: Sequence[str]) -> Lane:
        """Add a lane for a model that is made of others; the oldest that nobody uses makes room.

        Raises:
            UnknownModel: a member is gone.
            Overloaded: all are in use; as many lanes as there are requests would know no limits, each having its own.
        """
        for member in members:
            self._check_known(member)
        made = [other for other in self._lanes if other not in self.models]
        excess = len(made) + 1 - MOST_MADE
        idle = [other for other in made if not self._lanes[other].scheduler.busy][: max(0, excess)]
        if len(idle) < excess:
            self.counters.add(refused=1)
            retry_s = min(self._lanes[other].pace.retry_after_s(1) for other in made)
            raise Overloaded(f"{len(made)} other ensembles are at work; retry later", retry_s)
        made_lane = self._lane(key, make(), self._limits_of(key))
        self._lanes = {other: lane for other, lane in self._lanes.items() if other not in idle} | {key: made_lane}
        self._members = {other: of for other, of in self._members.items() if other not in idle} | {key: members}
        return made_lane

    def _withdraw(self, lane: Lane, number: int) -> None:
        """Let the next turn evict a request that nobody waits for."""
        with self._lock:
            lane.scheduler.withdraw(number)
            self._wake_one()

    def _wake_one(self) -> None:
        """Wake a thread that sleeps and has something to do; those awake look for themselves before they sleep."""
        for number in sorted(self._asleep):
            if self._has_work(number):
                self._asleep.discard(number)
                self._bells[number].notify()
                return

    def _wake_all(self) -> None:
        self._asleep.clear()
        for bell in self._bells:
            bell.notify()

    # ---- on the engine's threads

    def _run(self, number: int) -> None:
        """Take turns until told to stop; the last to end fails whoever is left."""
        try:
            while not self._halted:
                worked = self._turn(number)
                if self._leaving:
                    self._let_go()
                if not worked and not self._wait_for_work(number):
                    break
        except BaseException:
            self._halted = True  # the others cannot do its work
            raise
        finally:
            self._end()

    def _end(self) -> None:
        """Note that a thread has ended; after the last, fail whoever is left."""
        with self._lock:
            self._left -= 1
            self._wake_all()
            if self._left:
                return
            self._accepting = False
            self._ended = True
            left = [(lane, list(lane.requests)) for lane in self._every_lane()]
            leaving, self._leaving = self._leaving, ()
        for lane, numbers in left:
            lane.fail(numbers, Draining, "the server shut down before the answer was ready; retry elsewhere")
        for one in leaving:
            one.gone.set_result(None)

    def _turn(self, number: int) -> bool:
        """Let every lane with work for this thread take a turn; say whether there was one."""
        with self._lock:
            lanes = self._work_of(number)
        for lane in lanes:
            lane.hands[number].turn()
        return bool(lanes)

    def _work_of(self, number: int) -> list[Lane]:
        """Return the lanes that a thread has something to do for; those in the background when no other lane is busy."""
        behind = self._background
        lanes = [lane for key, lane in self._lanes.items() if key not in behind]
        lanes += [lane for leaving in self._leaving for lane in leaving.lanes]
        if behind and not any(lane.scheduler.busy for lane in lanes):
            lanes = [self._lanes[key] for key in behind]
        return [lane for lane in lanes if lane.scheduler.has_work(number)]

    def _has_work(self, number: int) -> bool:
        return bool(self._work_of(number)) or any(not leaving.busy for leaving in self._leaving)

    def _let_go(self) -> None:
        """Forget the retired models whose last request is over."""
        with self._lock:
            over = [leaving for leaving in self._leaving if not leaving.busy]
            self._leaving = tuple(leaving for leaving in self._leaving if leaving not in over)
        gone = [leaving.gone for leaving in over]
        del over  # with it goes the model, before anybody is told so
        for one in gone:
            one.set_result(None)

    def _wait_for_work(self, number: int) -> bool:
        """Sleep until there is something to do; say whether to go on."""
        with self._lock:
            while not (self._halted or self._has_work(number)):
                if not self._accepting and not any(lane.scheduler.busy for lane in self._every_lane()):
                    return False
                self._wake_one()  # what waited behind this thread's work, or for its rows
                self._asleep.add(number)
                self._bells[number].wait()
                self._asleep.discard(number)
            return not self._halted

    def _every_lane(self) -> Iterator[Lane]:
        yield from self._lanes.values()
        for leaving in self._leaving:
            yield from leaving.lanes
