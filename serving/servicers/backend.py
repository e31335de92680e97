"""What all servicers stand on: the registry, and the engine once the models are loaded."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from beamstep.v1 import decoding_pb2
from serving.caches.answers import AnswerCache
from serving.caches.fingerprint import fingerprint
from serving.calls.call import Call, note_decoded, note_model
from serving.calls.client import client_of, current_client
from serving.claim import Priority
from serving.decoding.request import Progress
from serving.engine import Engine
from serving.ensemble import Ensemble, Member, joint_inputs
from serving.errors import BeamstepError, Draining, InvalidRequest, Overloaded, UnknownModel
from serving.registry import Registry
from serving.request import Decoded, Inputs, OnProgress, Ticket
from serving.tasks.base import Plan, Source, Task

Context = grpc.aio.ServicerContext[Any, Any]
AnyTask = TypeVar("AnyTask", bound=Task)
AnySource = TypeVar("AnySource", bound=Source)
Result = TypeVar("Result")

PRIORITIES: Final = {
    decoding_pb2.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    decoding_pb2.PRIORITY_LOW: Priority.LOW,
    decoding_pb2.PRIORITY_NORMAL: Priority.NORMAL,
    decoding_pb2.PRIORITY_HIGH: Priority.HIGH,
}
MOST_MEMBERS: Final = 7
JOIN: Final = " + "
"""Stands between the members of an ensemble in its key."""
WEIGHT: Final = (0.001, 1000.0)
"""Least and most of an ensemble's weights: a share too small for a float32 would make the log-prob of a banned token 0 * -inf."""


class NamesModel(Protocol):
    """Any request that names a model and has decoding options."""

    @property
    def model(self) -> str:
        """The bundle's name."""

    @property
    def model_version(self) -> str:
        """The bundle's version."""

    @property
    def options(self) -> decoding_pb2.DecodingOptions:
        """How to search."""


@dataclass(frozen=True)
class Models(Generic[AnyTask]):
    """Who is to answer: one model, or several as an ensemble.

    Attributes:
        tasks: the model that the request names, then the further members of its ensemble.
        weights: one a task.
    """

    tasks: tuple[AnyTask, ...]
    weights: tuple[float, ...]

    @property
    def first(self) -> AnyTask:
        """Return the task of the model that the request names."""
        return self.tasks[0]

    @property
    def key(self) -> str:
        """Return the engine's key: the bundle's, or one of its own for every ensemble."""
        if len(self.tasks) == 1:
            return self.first.bundle.lane
        pairs = zip(self.tasks, self.weights, strict=True)
        return JOIN.join(f"{weight / self.weights[0]:.9g} {task.bundle.lane}" for task, weight in pairs)

    @property
    def members(self) -> list[str]:
        """Return the engine's keys of the models themselves."""
        return [task.bundle.lane for task in self.tasks]


@dataclass(frozen=True)
class Asked(Generic[AnyTask, AnySource]):
    """One request, ready for the engine.

    Attributes:
        models: who is to answer.
        sources: the source as each of them reads it.
        plan: how to search.
        return_best: whether to answer with the best so far when the deadline comes.
        priority: how urgent it is.
        options: as the request has them; None where they are not known, and the answer is not cached.
        again: reads the same request as another model would, for a canary; None where none may answer it.
    """

    models: Models[AnyTask]
    sources: Sequence[AnySource]
    plan: Plan
    return_best: bool = False
    priority: Priority = Priority.NORMAL
    options: decoding_pb2.DecodingOptions | None = None
    again: Callable[[AnyTask], tuple[AnySource, Plan]] | None = None

    @classmethod
    def of(
        cls,
        models: Models[AnyTask],
        sources: Sequence[AnySource],
        plan: Plan,
        request: NamesModel,
        again: Callable[[AnyTask], tuple[AnySource, Plan]] | None = None,
    ) -> "Asked[AnyTask, AnySource]":
        """Put together what was made of a request, and what it says of its deadline and its urgency.

        Raises:
            InvalidRequest: see `returns_best` and `priority_of`.
        """
        return cls(models, sources, plan, returns_best(request), priority_of(request), request.options, again)

    @property
    def task(self) -> AnyTask:
        """Return the task of the model that the request names."""
        return self.models.first

    @property
    def source(self) -> AnySource:
        """Return the source as that model reads it."""
        return self.sources[0]

    @property
    def seed(self) -> int | None:
        """Return what the answer is drawn with; None where it is searched for."""
        sampling = self.plan.options.sampling
        return None if sampling is None else sampling.seed

    @property
    def inputs(self) -> Inputs:
        """Return what the encoder takes, or all encoders of an ensemble."""
        every = [source.inputs for source in self.sources]
        return every[0] if len(every) == 1 else joint_inputs(every)

    @property
    def fingerprint(self) -> bytes | None:
        """Return a hash of all that the answer depends on; None where an equal request would get another answer.

        What a search may not take depends on the source, which the inputs hold without rounding, and on the request's options.
        """
        if self.options is None or (
            self.plan.options.sampling is not None and not self.options.sampling.HasField("seed")
        ):
            return None
        asked = decoding_pb2.DecodingOptions()
        asked.CopyFrom(self.options)
        asked.ClearField("priority")
        asked.ClearField("on_deadline")
        who = [task.bundle.identity for task in self.models.tasks]
        words: tuple[str | bytes, ...] = (
            self.models.key,
            *who,
            repr(self.plan.options),
            asked.SerializeToString(deterministic=True),
        )
        return fingerprint(words, self.inputs)


class Backend:
    """Hands requests to the engine.

    Attributes:
        registry: the bundles that are or will be loaded.
        answered: told of every answer of a single model; it must return at once and not raise.
    """

    def __init__(self, registry: Registry, share_by: str = "", answers: AnswerCache | None = None) -> None:
        """Take requests from now on.

        Args:
            registry: the bundles that are or will be loaded.
            share_by: the metadata that says whom a request is for, see `client_of`.
            answers: those that are known already; None keeps none.
        """
        self.registry = registry
        self._share_by = share_by
        self._answers = answers
        self.answered: Callable[[Asked[Any, Any], Decoded], None] = _nothing
        self._engine: Engine | None = None
        self._stopping = False

    @property
    def ready(self) -> bool:
        """Say whether requests are let through, and new ones are welcome."""
        return self._engine is not None and not self._stopping

    @property
    def full(self) -> bool:
        """Say whether some queue is full, so that the next call may have to be refused.

        With a cache of answers none is: what is known is answered all the same. Nor while the server stops, which is said first.
        """
        return self.ready and self._answers is None and self._engine is not None and self._engine.full

    def attach(self, engine: Engine) -> None:
        """Let requests through to a running engine."""
        self._engine = engine

    def detach(self) -> None:
        """Be ready no more, though requests that come all the same are let through as long as the engine runs."""
        self._stopping = True

    def models(self, kind: type[AnyTask], request: NamesModel) -> Models[AnyTask]:
        """Find who is to answer a request, before anything is made of its payload.

        Raises:
            UnknownModel: no such model is loaded.
            InvalidRequest: an ensemble's members cannot decode together, a weight is out of range, or a priority unknown.
            Overloaded: the queue is full: no text need be cut, no image decoded and no points be looked at to say so. With a cache
                of answers that comes later, since a full queue does not keep it from answering.
        """
        models = self._find(kind, request)
        if self._engine is not None and self._answers is None:
            self._engine.check_room(models.key, current_client(self._share_by), priority_of(request))
        return models

    def refusal(self, kind: type[AnyTask], request: NamesModel, call: Call) -> Overloaded | None:
        """Return why a request would be refused for a full queue; None where it would not, or for something else first."""
        if self._engine is None:
            return None
        try:
            key = self._find(kind, request).key
            self._engine.check_room(key, client_of(call, self._share_by), priority_of(request))
        except Overloaded as error:
            return error
        except BeamstepError:
            return None
        return None

    def _find(self, kind: type[AnyTask], request: NamesModel) -> Models[AnyTask]:
        first = self.registry.find(kind, request.model, request.model_version)
        options = request.options
        weights = [_weight("options.ensemble_weight", options, "ensemble_weight")]
        if not options.ensemble:
            return Models((first,), (1.0,))
        if len(options.ensemble) > MOST_MEMBERS:
            raise InvalidRequest("options.ensemble", f"{len(options.ensemble)} members", f"up to {MOST_MEMBERS}")
        tasks = [first]
        for place, member in enumerate(options.ensemble):
            field = f"options.ensemble[{place}]"
            if not member.model:
                raise InvalidRequest(f"{field}.model", "empty", "a name that ListModels gives")
            try:
                task = self.registry.find(kind, member.model, member.model_version)
            except UnknownModel as error:
                raise UnknownModel(f"{field}.model: {error}") from None
            if task.vocabulary_identity != first.vocabulary_identity:
                allowed = f"models with the target vocabulary of {first.bundle.key}"
                raise InvalidRequest(
                    f"{field}.model", f"{task.bundle.key}, whose target vocabulary is another", allowed
                )
            weights.append(_weight(f"{field}.weight", member, "weight"))
            tasks.append(task)
        return Models(tuple(tasks), tuple(weights))

    async def decode(
        self, asked: Asked[AnyTask, AnySource], context: Context, on_progress: OnProgress | None = None
    ) -> Decoded:
        """Search for the answer to one request.

        The call's deadline goes with it. When the call is cancelled, so is this coroutine, and with it the request: its
        rows are free at the engine's next turn.

        Raises:
            Draining: the models are still loading, or the server is stopping.
            Overloaded, Expired, ModelFault: see `Engine.submit`.
        """
        engine = self._engine
        if engine is None:
            raise Draining("the server is loading its models; retry in a moment")
        note_model(asked.models.key, asked.source.length)
        key = None if self._answers is None else asked.fingerprint
        decoded = None if self._answers is None or key is None else self._answers.get(key)
        if decoded is None:
            decoded = await self._search(engine, asked, context, on_progress)
            if self._answers is not None and key is not None:
                self._answers.put(key, decoded)
        note_decoded(decoded)
        return decoded

    async def _search(
        self, engine: Engine, asked: Asked[AnyTask, AnySource], context: Context, on_progress: OnProgress | None
    ) -> Decoded:
        remaining = context.time_remaining()
        ticket = engine.submit(
            asked.models.key,
            asked.inputs,
            asked.plan.options,
            asked.plan.constraint,
            deadline=None if remaining is None else time.monotonic() + remaining,
            return_best=asked.return_best,
            source_length=asked.source.length,
            on_progress=on_progress,
            make=None if len(asked.sources) == 1 else lambda: _ensemble(engine, asked.models),
            members=() if len(asked.sources) == 1 else asked.models.members,
            client=current_client(self._share_by),
            priority=asked.priority,
        )
        decoded = await _answer(ticket)
        if len(asked.sources) == 1:
            self.answered(asked, decoded)
        return decoded

    async def decode_all(self, every: Sequence[Asked[AnyTask, AnySource]], context: Context) -> tuple[Decoded, ...]:
        """Search for several answers at once, as one request's symmetries do; when one fails, none goes on. See `decode`."""
        return await together([self.decode(asked, context) for asked in every])

    async def stream(
        self, asked: Asked[AnyTask, AnySource], context: Context
    ) -> AsyncGenerator[Progress | Decoded, None]:
        """Search for the answer to one request, and say how far it is meanwhile; last comes the answer. See `decode`.

        Whoever reads slowly misses progress, but never the newest: nothing piles up.
        """
        loop = asyncio.get_running_loop()
        news = asyncio.Event()
        latest: list[Progress] = []

        def note(progress: Progress) -> None:
            latest[:] = [progress]
            news.set()

        def on_progress(progress: Progress) -> None:
            with suppress(RuntimeError):  # the event loop has closed: nobody is waiting
                loop.call_soon_threadsafe(note, progress)

        answer = asyncio.ensure_future(self.decode(asked, context, on_progress))
        answer.add_done_callback(lambda _: news.set())
        try:
            while True:
                await news.wait()
                news.clear()
                if answer.done():
                    yield await answer
                    return
                yield latest[0]
        finally:
            answer.cancel()


async def together(works: Sequence[Coroutine[Any, Any, Result]]) -> tuple[Result, ...]:
    """Wait for several at once; when one fails, or this is cancelled, none goes on."""
    if len(works) == 1:
        return (await works[0],)
    running = [asyncio.ensure_future(work) for work in works]
    try:
        return tuple(await asyncio.gather(*running))
    finally:
        for one in running:
            one.cancel()  # means nothing to one that is over
        await asyncio.gather(*running, return_exceptions=True)


def _nothing(asked: Asked[Any, Any], decoded: Decoded) -> None:
    """Do nothing about an answer."""


async def _answer(ticket: Ticket) -> Decoded:
    """Wait for an answer; cancelling this withdraws the request.

    asyncio.wrap_future would wake the event loop again for an answer that is handed over on it.
    """
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    done = asyncio.Event()

    def note(_: object) -> None:
        if threading.get_ident() == thread:
            done.set()
        else:
            with suppress(RuntimeError):  # the event loop has closed: nobody is waiting
                loop.call_soon_threadsafe(done.set)

    ticket.future.add_done_callback(note)
    try:
        await done.wait()
    except asyncio.CancelledError:
        ticket.cancel()
        raise
    return ticket.future.result()


def returns_best(request: NamesModel) -> bool:
    """Say whether a request wants its best so far at its deadline.

    Raises:
        InvalidRequest: its `on_deadline` is no value of this version.
    """
    given = request.options.on_deadline
    if given not in decoding_pb2.OnDeadline.values():
        allowed = ", ".join(decoding_pb2.OnDeadline.keys()[1:])
        raise InvalidRequest("options.on_deadline", str(given), allowed)
    return given == decoding_pb2.ON_DEADLINE_RETURN_BEST


def priority_of(request: NamesModel) -> Priority:
    """Return how urgent a request is.

    Raises:
        InvalidRequest: its `priority` is no value of this version.
    """
    given = request.options.priority
    if given not in PRIORITIES:
        raise InvalidRequest("options.priority", str(given), ", ".join(decoding_pb2.Priority.keys()[1:]))
    return PRIORITIES[given]


def check_no_deadline_rule(request: NamesModel) -> None:
    """Refuse `on_deadline` where a target is scored: half a score is none."""
    if request.options.on_deadline:
        raise InvalidRequest("options.on_deadline", "given", "unset where a target is scored")


def _ensemble(engine: Engine, models: Models[AnyTask]) -> Ensemble:
    members = [
        Member(engine.models[task.bundle.lane], weight)
        for task, weight in zip(models.tasks, models.weights, strict=True)
    ]
    vocabulary = models.first.bundle.manifest.vocabulary
    return Ensemble(members, vocabulary.size, vocabulary.first_position)


def _weight(field: str, message: Message, name: str) -> float:
    """Return a weight, 1 where it is unset."""
    weight: float = getattr(message, name) if message.HasField(name) else 1.0
    if not WEIGHT[0] <= weight <= WEIGHT[1]:  # true of NaN too
        raise InvalidRequest(field, f"{weight:g}", f"from {WEIGHT[0]:g} to {WEIGHT[1]:g}")
    return weight
