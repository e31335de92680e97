"""A bundle served in this process: the very path of a request - task, engine, task - without a socket."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from export.evaluation.lines import BadData
from serving.decoding.hypothesis import Hypothesis
from serving.engine import Engine
from serving.errors import InvalidRequest
from serving.request import Decoded
from serving.tasks.base import Plan, Source, Task
from serving.tasks.geometry import Points
from serving.tasks.options import RequestedOptions
from serving.tasks.pointing import Found, Named, Pointing

Payload = TypeVar("Payload")
Answer = TypeVar("Answer")
AnySource = TypeVar("AnySource", bound=Source)

IN_FLIGHT: Final = 128
"""Searches in the engine at once: enough to keep its batch full and the next ones waiting, fewer than its queue takes."""


@dataclass(frozen=True)
class Answers(Generic[Answer]):
    """What a corpus was answered with.

    Attributes:
        best: the best hypothesis of each source in order; None where serving refuses the source.
        refusals: why, by the source's index.
    """

    best: list[Answer | None]
    refusals: dict[int, InvalidRequest]


@dataclass(frozen=True)
class Served:
    """An engine that runs a bundle, and how to ask it.

    Attributes:
        engine: running.
        key: the model's in the engine.
        requested: decoding options, the same for every request.
        advance: called after every source, for a progress bar.
    """

    engine: Engine
    key: str
    requested: RequestedOptions
    advance: Callable[[], object]

    def answer_all(
        self,
        task: Task,
        payloads: Sequence[Payload],
        source_of: Callable[[Payload], Source],
        answer_of: Callable[[Hypothesis], Answer],
    ) -> Answers[Answer]:
        """Send every payload, many at a time, and read each best hypothesis.

        A source that serving refuses has no answer and is counted against the model: so it would go in production.

        Args:
            task: the bundle's.
            payloads: at least one; what a request brings: a text, an image's bytes.
            source_of: the task's way from a payload to encoder inputs.
            answer_of: the task's way from a hypothesis to what it means.

        Raises:
            InvalidRequest: a decoding option is out of the model's range.
            BadData: every source is refused.
        """
        return self.ask_all(
            payloads,
            lambda payload: [source_of(payload)],
            lambda sources: [task.plan(self.requested, sources[0])],
            lambda _, decoded: answer_of(decoded[0].hypotheses[0]),
        )

    def point_all(
        self, task: Pointing[Named], point_sets: Sequence[Points], symmetries: int = 0
    ) -> Answers[Found[Named]]:
        """Send every set of points in so many symmetries, 0 being the model's default, and read the best of what is found.

        Raises:
            InvalidRequest: a decoding option or the number of symmetries is out of range.
            BadData: every set is refused.
        """
        chosen = task.symmetries(symmetries, self.requested)
        return self.ask_all(
            point_sets,
            lambda points: task.sources(points, chosen),
            lambda sources: task.plans(self.requested, sources),
            lambda sources, decoded: task.best(
                [(source, one.hypotheses) for source, one in zip(sources, decoded, strict=True)], self.requested
            )[0],
        )

    def ask_all(
        self,
        payloads: Sequence[Payload],
        sources_of: Callable[[Payload], Sequence[AnySource]],
        plans_of: Callable[[Sequence[AnySource]], Sequence[Plan]],
        read: Callable[[Sequence[AnySource], Sequence[Decoded]], Answer],
    ) -> Answers[Answer]:
        """Send what each payload comes to, many at a time, and read what was found, in order.

        Args:
            payloads: at least one.
            sources_of: a payload's encoder inputs; where it raises InvalidRequest the payload is refused.
            plans_of: how each of them is to be searched; an InvalidRequest of it is raised.
            read: what is kept of a payload's searches.

        Raises:
            InvalidRequest: a decoding option is out of the model's range.
            BadData: every payload is refused.
        """
        best: list[Answer | None] = []
        refusals: dict[int, InvalidRequest] = {}
        in_flight: deque[tuple[Sequence[AnySource], list[Future[Decoded]]]] = deque()

        def receive() -> None:
            sources, futures = in_flight.popleft()
            best.append(read(sources, [future.result() for future in futures]) if futures else None)
            self.advance()

        for index, payload in enumerate(payloads):
            try:
                sources = sources_of(payload)
            except InvalidRequest as refusal:
                refusals[index] = refusal
                in_flight.append(((), []))
                continue
            plans = plans_of(sources)
            while in_flight and sum(len(futures) for _, futures in in_flight) + len(plans) > IN_FLIGHT:
                receive()
            futures = [
                self.engine.submit(self.key, source.inputs, *plan).future
                for source, plan in zip(sources, plans, strict=True)
            ]
            in_flight.append((sources, futures))
        while in_flight:
            receive()
        if len(refusals) == len(payloads):
            raise BadData(f"the model refuses all {len(payloads)} sources; the first for: {refusals[0]}")
        return Answers(best, refusals)
