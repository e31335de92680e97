"""What is kept of a run: one line of JSON, from which all of it can be had again."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from beamstep.bench.errors import BadInput
from beamstep.bench.histogram import Histogram
from beamstep.bench.plan import Point
from beamstep.bench.tally import Tally, Window

FORMAT: Final = 1
ENVIRONMENT: Final = "environment"
RUN: Final = "run"


@dataclass(frozen=True)
class Run:
    """One measurement of one point.

    Attributes:
        point: the load.
        repeat: which of the point's measurements, from 0.
        settings: what else was chosen, the workload's name and hash among it.
        server: the models of the server, as far as it told.
        seconds: how long what counts took.
        tally: what came of it.
    """

    point: Point
    repeat: int
    settings: dict[str, Any]
    server: list[dict[str, Any]]
    seconds: float
    tally: Tally

    @property
    def latency(self) -> Histogram:
        """Return the time from when a request was due until its answer was there."""
        return self.tally.part("latency")

    @property
    def offered(self) -> float:
        """Return the requests that were due, a second."""
        return self.tally.due / self.seconds

    @property
    def achieved(self) -> float:
        """Return the answers that came, a second."""
        return self.tally.answered / self.seconds

    @property
    def goodput(self) -> float:
        """Return the requests a second that were answered within the objective."""
        return self.tally.good / self.seconds

    @property
    def processor_share(self) -> float:
        """Return how much of a core each generator process used, from 0 to about 1."""
        return self.tally.processor_s / self.tally.elapsed_s if self.tally.elapsed_s else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return a line of a file: figures to read, and the histograms that they are from."""
        found = self.tally
        parts = dict(sorted(found.parts.items()))
        return {
            "kind": RUN,
            "format": FORMAT,
            "point": asdict(self.point),
            "repeat": self.repeat,
            "settings": self.settings,
            "server": self.server,
            "seconds": self.seconds,
            "due": found.due,
            "offered_per_s": round(self.offered, 3),
            "achieved_per_s": round(self.achieved, 3),
            "goodput_per_s": round(self.goodput, 3),
            "good": found.good,
            "tokens": found.tokens,
            "errors": dict(found.errors),
            "milliseconds": {name: histogram.summary() for name, histogram in parts.items()},
            "generator": {"processor_s": round(found.processor_s, 4), "elapsed_s": round(found.elapsed_s, 4)},
            "histograms": {name: histogram.encode() for name, histogram in parts.items()},
            "windows": [
                {"due": window.due, "answered": window.answered, "latency": window.latency.encode()}
                for window in found.windows
            ],
        }

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> "Run":
        """Return what `as_json` made. KeyError, TypeError or ValueError where it is something else."""
        windows = [
            Window(Histogram.decode(window["latency"]), int(window["due"]), int(window["answered"]))
            for window in line["windows"]
        ]
        parts = {str(name): Histogram.decode(encoded) for name, encoded in line["histograms"].items()}
        tally = Tally(windows, parts, Counter(line["errors"]), int(line["good"]), int(line["tokens"]))
        tally.processor_s = float(line["generator"]["processor_s"])
        tally.elapsed_s = float(line["generator"]["elapsed_s"])
        point = Point(**line["point"])
        return cls(point, int(line["repeat"]), dict(line["settings"]), line["server"], float(line["seconds"]), tally)


@dataclass(frozen=True)
class Recording:
    """A file of runs.

    Attributes:
        name: the file's.
        environment: where they were taken.
        runs: in the order they were taken.
    """

    name: str
    environment: dict[str, Any]
    runs: Sequence[Run]


def write_line(file: IO[str], line: dict[str, Any]) -> None:
    """Write one line, and see that it is there even if the next is never written."""
    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    file.flush()


def read_recording(file: Path) -> Recording:
    """Read what `beamstep bench run --json FILE` wrote.

    Raises:
        BadInput: names the line that is something else.
        FileNotFoundError: there is no such file.
    """
    environment: dict[str, Any] = {}
    runs = []
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            if line["kind"] == ENVIRONMENT:
                environment = line
            elif line["kind"] == RUN:
                runs.append(Run.from_json(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            allowed = "lines as beamstep bench run --json writes them"
            raise BadInput(f"{file}, line {number}: {text[:60]!r}; allowed: {allowed}") from None
    if not runs:
        raise BadInput(f"{file}: no run in it; allowed: a file of beamstep bench run --json")
    return Recording(str(file), environment, runs)
