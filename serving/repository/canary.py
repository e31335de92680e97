"""Versions on trial: a share of a model's requests decoded a second time, when the engine has nothing else to do, and compared.

The request is answered first and knows nothing of it. Whatever the trial does, too late, too much or wrong, is counted here and
nowhere else.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from serving.calls.call import CURRENT
from serving.decoding.hypothesis import Hypothesis
from serving.engine import Engine
from serving.errors import Draining, Expired, Overloaded, Refused, UnknownModel
from serving.registry import Registry
from serving.repository.config import MOST_IN_FLIGHT, CanaryShare
from serving.request import Decoded
from serving.servicers.backend import Asked
from serving.tasks.base import Plan, Source, Task

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 60.0
"""A second answer that is not there after so long is given up: the engine has no time for it."""

Again = Callable[[Task], tuple[Source, Plan]]


@dataclass
class CanaryFigures:
    """What a trial found since it began.

    Attributes:
        name: of the model.
        version: on trial.
        share: of the requests that are decoded a second time.
        chosen: requests that it fell on.
        compared: those of them that were answered a second time.
        dropped: those that were given up, for lack of room or time.
        errors: those that the version failed, or would have refused.
        identical: best answers that are the same token by token.
        same_tokens: tokens at whose position both best answers have the same one.
        tokens: of the longer of the two best answers.
        primary_s: from queue to answer, summed over what was compared: of the answers that were sent.
        canary_s: the same of the second answers; waiting for the engine's other work is part of it.
        last_error: "" where there was none.
    """

    name: str
    version: str
    share: float
    chosen: int = 0
    compared: int = 0
    dropped: int = 0
    errors: int = 0
    identical: int = 0
    same_tokens: int = 0
    tokens: int = 0
    primary_s: float = 0.0
    canary_s: float = 0.0
    last_error: str = ""

    @property
    def agreement(self) -> float | None:
        """Return the share of identical best answers; None where none was compared."""
        return self.identical / self.compared if self.compared else None

    @property
    def token_agreement(self) -> float | None:
        """Return the share of tokens that are the same at the same position; None where none was compared."""
        return self.same_tokens / self.tokens if self.tokens else None

    def compare(self, sent: list[str], found: list[str]) -> None:
        """Count one more pair of best answers, each as its tokens' pieces."""
        self.compared += 1
        self.identical += sent == found
        self.same_tokens += sum(one == other for one, other in zip(sent, found, strict=False))
        self.tokens += max(len(sent), len(found))


@dataclass
class Trial:
    """A version on trial and what of it goes on right now."""

    task: Task
    lane: str
    figures: CanaryFigures
    running: set[asyncio.Task[None]] = field(default_factory=set)


class Canaries:
    """The trials that go on, one a name; all of it on the event loop's thread."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._engine: Engine | None = None
        self._trials: dict[str, Trial] = {}

    def attach(self, engine: Engine) -> None:
        """Let trials begin."""
        self._engine = engine

    @property
    def keys(self) -> frozenset[str]:
        """Return name/version of those on trial."""
        return frozenset(trial.task.bundle.key for trial in self._trials.values())

    def snapshot(self) -> tuple[CanaryFigures, ...]:
        """Return copies of the figures, by name; a collector of metrics may call this from any thread."""
        trials = sorted(self._trials.items())
        return tuple(replace(trial.figures) for _, trial in trials)

    def set(self, asked: CanaryShare) -> CanaryFigures:
        """Begin a trial, or change the share of one that goes on; another version's trial of this name ends.

        Raises:
            UnknownModel: the version is not loaded.
            Refused: no other version of its name is, so that nobody would answer.
        """
        task = self._registry.get(asked.name, asked.version)
        trial = self._trials.get(asked.name)
        if trial is not None and trial.task is task:
            trial.figures.share = asked.share
            return replace(trial.figures)
        if not any(one.bundle.manifest.name == asked.name and one is not task for one in self._registry):
            raise Refused(f"{asked.key} is the only version of {asked.name}; a canary needs another one that answers")
        if self._engine is None:
            raise Draining("the server is loading its models; retry in a moment")
        self.clear(asked.name)
        lane = f"canary {task.bundle.lane}"
        self._engine.add(lane, self._engine.models[task.bundle.lane], background=True)
        self._trials[asked.name] = Trial(task, lane, CanaryFigures(asked.name, asked.version, asked.share))
        self._registry.set_aside(self.keys)
        logger.info("%s decodes %g of the requests of %s a second time", asked.key, asked.share, asked.name)
        return replace(self._trials[asked.name].figures)

    def clear(self, name: str) -> CanaryFigures | None:
        """End the trial of a name, if there is one, and return its last figures."""
        trial = self._trials.pop(name, None)
        if trial is None:
            return None
        for one in trial.running:
            one.cancel()
        if self._engine is not None:
            self._engine.retire(trial.lane)
        self._registry.set_aside(self.keys)
        logger.info("the trial of %s is over", trial.task.bundle.key)
        return trial.figures

    def end(self, tasks: Iterable[Task]) -> None:
        """End the trials of versions that are taken out of service."""
        for task in tasks:
            trial = self._trials.get(task.bundle.manifest.name)
            if trial is not None and trial.task is task:
                self.clear(task.bundle.manifest.name)

    def close(self) -> None:
        """End all trials."""
        for name in tuple(self._trials):
            self.clear(name)

    def answered(self, asked: Asked[Any, Any], decoded: Decoded) -> None:
        """Decode a request a second time, if a trial's share falls on it; the request has its answer already."""
        trial = self._trials.get(asked.task.bundle.manifest.name)
        if trial is None or asked.again is None or asked.task is trial.task or decoded.deadline_reached:
            return
        call, figures = CURRENT.get(), trial.figures
        if not falls_on(figures, call.request_id if call is not None else str(figures.chosen)):
            return
        figures.chosen += 1
        if len(trial.running) >= MOST_IN_FLIGHT:
            figures.dropped += 1
            return
        sent = _pieces(asked.task, decoded.hypotheses[0])
        seconds = decoded.queue_s + decoded.encode_s + decoded.decode_s
        running = asyncio.ensure_future(self._compare(trial, asked.again, sent, seconds))
        trial.running.add(running)
        running.add_done_callback(trial.running.discard)

    async def _compare(self, trial: Trial, again: Again, sent: list[str], seconds: float) -> None:
        figures = trial.figures
        try:
            found = await self._decode(trial, again)
        except (Overloaded, Expired, Draining, UnknownModel):
            figures.dropped += 1
        except asyncio.CancelledError:
            figures.dropped += 1
            raise
        except Exception as error:  # whatever a version on trial does, nobody waits for it
            figures.errors += 1
            figures.last_error = str(error) or repr(error)
        else:
            figures.compare(sent, _pieces(trial.task, found.hypotheses[0]))
            figures.primary_s += seconds
            figures.canary_s += found.queue_s + found.encode_s + found.decode_s

    async def _decode(self, trial: Trial, again: Again) -> Decoded:
        assert self._engine is not None
        source, plan = await asyncio.to_thread(again, trial.task)
        ticket = self._engine.submit(
            trial.lane,
            source.inputs,
            plan.options,
            plan.constraint,
            deadline=time.monotonic() + PATIENCE_S,
            source_length=source.length,
        )
        return await asyncio.wrap_future(ticket.future)


def falls_on(figures: CanaryFigures, request_id: str) -> bool:
    """Say whether a trial's share falls on a request: by its id, so that all searches of one call go together."""
    digest = hashlib.sha256(f"{figures.name}/{figures.version}:{request_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < figures.share


def _pieces(task: Task, hypothesis: Hypothesis) -> list[str]:
    """Return a hypothesis so that it can be compared with another vocabulary's."""
    return task.pieces(hypothesis.tokens)
