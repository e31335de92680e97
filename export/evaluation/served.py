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
from serving.tasks.base import Source, Task
from serving.tasks.options import RequestedOptions

Payload = TypeVar("Payload")
Answer = TypeVar("Answer")

IN_FLIGHT: Final = 128
"""Requests in the engine at once: enough to keep its batch full and the next ones waiting, fewer than its queue takes."""


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
            payloads: at least one; what a request brings: a text, an image's bytes, points.
            source_of: the task's way from a payload to encoder inputs.
            answer_of: the task's way from a hypothesis to what it means.

        Raises:
            InvalidRequest: a decoding option is out of the model's range.
            BadData: every source is refused.
        """
        best: list[Answer | None] = []
        refusals: dict[int, InvalidRequest] = {}
        in_flight: deque[Future[Decoded] | None] = deque()

        def receive() -> None:
            future = in_flight.popleft()
            best.append(None if future is None else answer_of(future.result().hypotheses[0]))
            self.advance()

        for index, payload in enumerate(payloads):
            if len(in_flight) == IN_FLIGHT:
                receive()
            try:
                source = source_of(payload)
            except InvalidRequest as refusal:
                refusals[index] = refusal
                in_flight.append(None)
                continue
            plan = task.plan(self.requested, source)
            in_flight.append(self.engine.submit(self.key, source.inputs, *plan).future)
        while in_flight:
            receive()
        if len(refusals) == len(payloads):
            raise BadData(f"the model refuses all {len(payloads)} sources; the first for: {refusals[0]}")
        return Answers(best, refusals)
