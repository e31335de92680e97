"""2: the same weights in float32 as people export and run them: two default sessions, logits out, NumPy top-k."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from benchmarks.peers import asked
from benchmarks.peers.built import float_graphs
from benchmarks.peers.load import MANY, loads
from benchmarks.peers.sides import OURS, P50, RATE, ours, served, theirs
from benchmarks.peers.table import Effort, Figures, Group, Ratio, Sides, Table

NAME: Final = "translation-en-de"
SERVER: Final = "benchmarks.peers.onnx_server"
ONE: Final = "usual loop, one at a time"
BATCHED: Final = f"usual loop, up to {MANY} waiting requests together"
LOAD: Final = 0.7
AT_LOAD: Final = f"{OURS}, {LOAD:.0%} of its saturated rate"
P99_OVER_P50: Final = "p99 over p50"
LOAD_TIMES: Final = 2.0
"""So many times longer than other loads: a p99 wants some hundred answers."""


@contextmanager
def _against(effort: Effort) -> Iterator[Sides]:
    bundle = effort.models / NAME / "1"
    sent, graphs = asked.translations(asked.sentences(bundle)), float_graphs(bundle)
    with ExitStack() as stack:
        mine = stack.enter_context(ours(bundle, effort.serve))
        one = stack.enter_context(theirs(SERVER, bundle, graphs, 1))
        batched = stack.enter_context(theirs(SERVER, bundle, graphs, MANY))
        sender = stack.enter_context(loads())
        measures = {
            ONE: lambda: served(sender, one, sent, effort),
            BATCHED: lambda: served(sender, batched, sent, effort, alone=False),
            OURS: lambda: served(sender, mine, sent, effort),
        }
        yield Sides(measures, (*mine.pids, one.pid, batched.pid, *sender.pids))


@contextmanager
def _loaded(effort: Effort) -> Iterator[Sides]:
    bundle = effort.models / NAME / "1"
    sent = asked.translations(asked.sentences(bundle))
    with ours(bundle, effort.serve) as mine, loads() as sender:
        seeds = iter(range(1000))

        def measure() -> Figures:
            rate = sender.closed(mine.address, sent, MANY, effort.seconds).per_second
            seed = next(seeds)
            loaded = sender.poisson(mine.address, sent, LOAD * rate, LOAD_TIMES * effort.seconds, seed)
            middle, late = loaded.percentile_ms(50), loaded.percentile_ms(99)
            return {
                "saturated, answers/s": rate,
                "offered, requests/s": loaded.tally.due / loaded.seconds,
                "p50, ms": middle,
                "p99, ms": late,
                P99_OVER_P50: late / middle,
            }

        yield Sides({AT_LOAD: measure}, (*mine.pids, *sender.pids))


TABLE: Final = Table(
    "usual-onnx",
    (
        Group(NAME, _against, (Ratio(RATE, OURS, ONE, 3), Ratio(RATE, OURS, BATCHED, 3), Ratio(P50, ONE, OURS))),
        Group("open loop, Poisson", _loaded, (Ratio(P99_OVER_P50, AT_LOAD, target=3, at_most=True),)),
    ),
)
