"""Our engine without gRPC, asked by the tables: a corpus offered at once, or one sentence at a time.

    python -m benchmarks.peers.own_engine models/translation-en-de/1 [--threads 2]

The way of a request but for the socket: task, engine, task. Only what the engine does is timed: sentences are cut into pieces when
they are given, and answers become text when they are asked for.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from benchmarks.peers.apart.conversation import answer_questions
from serving.bundle import load_bundle
from serving.cores import cores
from serving.engine import Engine
from serving.process import SWITCH_S
from serving.registry import TASKS
from serving.request import Decoded
from serving.scheduler import Limits
from serving.session import OnnxModel, SessionConfig
from serving.tasks.base import Plan, Source
from serving.tasks.options import RequestedOptions
from serving.tasks.translation import Translation

KEY: Final = "model"
QUEUE: Final = 100_000
"""All of a corpus may wait."""
WARM: Final = 64


class OwnEngine:
    """A translation bundle in an engine, and the sentences it was given."""

    def __init__(self, task: Translation, engine: Engine) -> None:
        """Ask `engine`, which runs, for what `task` makes of sentences."""
        self._task = task
        self._engine = engine
        self._asked: list[tuple[Source, Plan]] = []
        self._found: list[Decoded] = []

    def give(self, texts: Sequence[str], beam_size: int, lengths: Sequence[int] | None = None) -> None:
        """Take the sentences that are asked for from now on, and warm up on some.

        Args:
            texts: all of them.
            beam_size: of every search.
            lengths: how many tokens each answer has, `eos` not counted; None ends it where the model does.
        """
        sources = [self._task.source(text) for text in texts]
        wanted = [RequestedOptions(beam_size=beam_size)] * len(texts)
        if lengths is not None:
            wanted = [RequestedOptions(beam_size=beam_size, min_length=most, max_length=most) for most in lengths]
        plans = [self._task.plan(options, source) for options, source in zip(wanted, sources, strict=True)]
        self._asked = list(zip(sources, plans, strict=True))
        self._translate(self._asked[:WARM])

    def all(self, batch: int = 0) -> float:
        """Translate every sentence, `batch` at a time and the next ones when all of those are over; return the seconds.

        0 offers all at once, so that the next one begins when any is over.
        """
        size = batch or len(self._asked)
        found: list[Decoded] = []
        began = time.perf_counter()
        for first in range(0, len(self._asked), size):
            found += self._translate(self._asked[first : first + size])
        seconds = time.perf_counter() - began
        self._found = found
        return seconds

    def singly(self, first: int, count: int) -> list[float]:
        """Translate some sentences one after the other; return the seconds of each."""
        seconds = []
        for one in self._asked[first : first + count]:
            began = time.perf_counter()
            self._translate([one])
            seconds.append(time.perf_counter() - began)
        return seconds

    def texts(self) -> list[str]:
        """Return what `all` found last."""
        return [self._task.text(decoded.hypotheses[0]) for decoded in self._found]

    def pieces(self) -> list[int]:
        """Return how many tokens each answer has that `all` found last, `eos` not counted."""
        eos = self._task.bundle.manifest.vocabulary.eos
        return [sum(int(token) != eos for token in decoded.hypotheses[0].tokens) for decoded in self._found]

    def _translate(self, asked: Sequence[tuple[Source, Plan]]) -> list[Decoded]:
        futures: list[Future[Decoded]] = [
            self._engine.submit(KEY, source.inputs, *plan).future for source, plan in asked
        ]
        return [future.result() for future in futures]


def main() -> None:
    """Load what the command line names, and answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="of the engine; 0 takes as many as `beamstep serve`")
    given = parser.parse_args()
    sys.setswitchinterval(SWITCH_S)
    bundle = load_bundle(given.bundle)
    task = TASKS[bundle.manifest.task](bundle)
    assert isinstance(task, Translation), f"{given.bundle}: a translation bundle is needed"
    model = OnnxModel(bundle, SessionConfig())
    model.warm_up()
    with Engine(
        {KEY: model}, Limits(waiting_requests=QUEUE), threads=given.threads or cores().engine_threads
    ) as engine:
        own = OwnEngine(task, engine)
        answer_questions(
            {"give": own.give, "all": own.all, "singly": own.singly, "texts": own.texts, "pieces": own.pieces}
        )


if __name__ == "__main__":
    main()
