"""2: the same weights in float32 as people export and run them: two default sessions, logits out, NumPy top-k."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.peers import asked
from benchmarks.peers.built import float_graphs
from benchmarks.peers.load import MANY, loads
from benchmarks.peers.sides import OURS, P50, RATE, Loop, beside, ours
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
    with beside(Loop(SERVER, graphs, ONE, BATCHED), bundle, sent, effort) as sides:
        yield sides


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
