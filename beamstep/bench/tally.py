"""What a run comes to: histograms and counts, which those of other processes can be added to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from beamstep.bench.histogram import Histogram
from beamstep.bench.loops import Outcome

OK: Final = "OK"


@dataclass(frozen=True)
class Frame:
    """Which part of a run counts.

    Attributes:
        begin: on the event loop's clock; the end of the warm-up.
        seconds: how long.
        windows: in how many equal parts it is looked at.
        objective_s: an answer within this is a good one; None calls all good.
    """

    begin: float
    seconds: float
    windows: int
    objective_s: float | None = None

    def window(self, at: float) -> int | None:
        """Return the window that a moment lies in; None outside of all."""
        place = int((at - self.begin) / self.seconds * self.windows) if at >= self.begin else -1
        return place if 0 <= place < self.windows else None


@dataclass
class Window:
    """One of the parts of a run.

    Attributes:
        latency: of what was due in it and answered.
        due: how many requests were.
        answered: how many answers came in it, whenever they were due.
    """

    latency: Histogram = field(default_factory=Histogram)
    due: int = 0
    answered: int = 0

    def add(self, other: "Window") -> None:
        """Count what another one counted."""
        self.latency.add(other.latency)
        self.due += other.due
        self.answered += other.answered


@dataclass
class Tally:
    """What was due within a frame, and what came of it.

    Attributes:
        parts: histograms by name. `latency` counts from when a request was due, `service` from when it was sent, `lateness` is what
            lies between; `first` and `committed` count from when it was due until the first message and the first committed text of
            a stream, `between` lies between two messages, `per_token` shares the time since the first among the tokens;
            `transport` is all of `service` that the server does not call its own, the rest as the server names it; `lag` is the
            generator's event loop.
        windows: the parts of the frame.
        errors: failed calls by the name of their status.
        good: answers within the objective.
        tokens: of all answers.
        processor_s: what the generators spent of processors, warm-up included.
        elapsed_s: and how long they ran, added up.
    """

    windows: list[Window]
    parts: dict[str, Histogram] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    good: int = 0
    tokens: int = 0
    processor_s: float = 0.0
    elapsed_s: float = 0.0

    @property
    def due(self) -> int:
        """Return how many requests were due."""
        return sum(window.due for window in self.windows)

    @property
    def answered(self) -> int:
        """Return how many answers came within the frame."""
        return sum(window.answered for window in self.windows)

    @property
    def failed(self) -> int:
        """Return how many of the requests that were due failed."""
        return sum(self.errors.values())

    def part(self, name: str) -> Histogram:
        """Return a histogram, an empty one the first time."""
        return self.parts.setdefault(name, Histogram())

    def add(self, other: "Tally") -> None:
        """Count what another process counted in the same frame."""
        for mine, theirs in zip(self.windows, other.windows, strict=True):
            mine.add(theirs)
        for name, histogram in other.parts.items():
            self.part(name).add(histogram)
        self.errors += other.errors
        self.good += other.good
        self.tokens += other.tokens
        self.processor_s += other.processor_s
        self.elapsed_s += other.elapsed_s


def tally(outcomes: Iterable[Outcome], frame: Frame, lags: Sequence[float] = ()) -> Tally:
    """Count what was due within the frame, and the answers that came in it."""
    found = Tally([Window() for _ in range(frame.windows)])
    for outcome in outcomes:
        ended_in = frame.window(outcome.answer.ended)
        if outcome.answer.code == OK and ended_in is not None:
            found.windows[ended_in].answered += 1
        due_in = frame.window(outcome.due)
        if due_in is not None:
            _count(found, found.windows[due_in], outcome, frame.objective_s)
    for lag in lags:
        found.part("lag").record(lag)
    return found


def _count(found: Tally, window: Window, outcome: Outcome, objective_s: float | None) -> None:
    due, answer = outcome
    window.due += 1
    found.part("lateness").record(answer.sent - due)
    if answer.code != OK:
        found.errors[answer.code] += 1
        return
    latency = answer.ended - due
    window.latency.record(latency)
    found.part("latency").record(latency)
    found.part("service").record(answer.ended - answer.sent)
    found.good += objective_s is None or latency <= objective_s
    found.tokens += answer.tokens
    for name, seconds in answer.server_s:
        found.part(name).record(seconds)
        if name == "server":
            found.part("transport").record(answer.ended - answer.sent - seconds)
    _count_stream(found, outcome)


def _count_stream(found: Tally, outcome: Outcome) -> None:
    due, answer = outcome
    if not answer.messages:
        return
    found.part("first").record(answer.messages[0] - due)
    for earlier, later in pairwise(answer.messages):
        found.part("between").record(later - earlier)
    if answer.committed is not None:
        found.part("committed").record(answer.committed - due)
    if answer.tokens > 1:
        found.part("per_token").record((answer.messages[-1] - answer.messages[0]) / (answer.tokens - 1))
