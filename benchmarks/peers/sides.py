"""Sides that are servers: ours with one bundle alone, another's loop in the plain server, and what both are asked."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beamstep.bench.prepared import Prepared
from benchmarks.peers.load import MANY, Loads, loads
from benchmarks.peers.table import Effort, Figures, Sides
from benchmarks.serving_process import ServingProcess, running, serving

OURS: Final = "Beamstep"
P50: Final = "p50 of one client, ms"
RATE: Final = f"answers/s of {MANY} clients"
MEMORY: Final = "memory, MiB"
TOKENS: Final = "tokens an answer"
ALONE_SHARE: Final = 0.6
"""One client needs less time than many until its figure stands."""


@contextmanager
def ours(bundle: Path, options: Sequence[str] = ()) -> Iterator[ServingProcess]:
    """Run `beamstep serve` with one bundle and nothing else, within a block."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(bundle, Path(scratch) / bundle.parent.name / bundle.name)
        with serving(Path(scratch), ["--no-log-calls", *options], services="") as server:
            yield server


@contextmanager
def theirs(module: str, bundle: Path, made: Path, most: int, options: Sequence[str] = ()) -> Iterator[ServingProcess]:
    """Run a module that serves a bundle by another loop, `most` waiting requests together, within a block."""
    start = [sys.executable, "-m", module, str(bundle), str(made), *options]
    with running(lambda host, port: [*start, f"{host}:{port}", "--most", str(most)]) as server:
        yield server


@dataclass(frozen=True)
class Loop:
    """Another's loop in the plain server: `module` serves a bundle by what was `made` of it, one request at a time or many."""

    module: str
    made: Path
    one: str
    batched: str
    options: Sequence[str] = ()


@contextmanager
def beside(loop: Loop, bundle: Path, calls: Sequence[Prepared], effort: Effort) -> Iterator[Sides]:
    """Serve a bundle by a loop, one at a time and batched, and by ours, all at once, within a block."""
    with ExitStack() as stack:
        mine = stack.enter_context(ours(bundle, effort.serve))
        one, batched = (
            stack.enter_context(theirs(loop.module, bundle, loop.made, most, loop.options)) for most in (1, MANY)
        )
        sender = stack.enter_context(loads())
        measures = {
            loop.one: lambda: served(sender, one, calls, effort),
            loop.batched: lambda: served(sender, batched, calls, effort, alone=False),
            OURS: lambda: served(sender, mine, calls, effort),
        }
        yield Sides(measures, (*mine.pids, one.pid, batched.pid, *sender.pids))


def served(
    sender: Loads, server: ServingProcess, calls: Sequence[Prepared], effort: Effort, *, alone: bool = True
) -> Figures:
    """Return a server's figures: of one client, unless that is left out, then of many; then its memory."""
    figures: dict[str, float] = {}
    if alone:
        one = sender.closed(server.address, calls, 1, ALONE_SHARE * effort.seconds)
        figures[P50] = one.percentile_ms(50)
    many = sender.closed(server.address, calls, MANY, effort.seconds)
    figures |= {RATE: many.per_second, TOKENS: many.tokens_per_answer, MEMORY: server.resident_bytes / 2**20}
    return figures
