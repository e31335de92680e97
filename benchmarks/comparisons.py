"""The rows of the table of benchmarks/engine_table.py: what each measures, twice in the same minute, and what it should come to.

Everything is measured in turns, A B A B, so that whatever else the machine does falls on both sides; a repeat gives one figure.
"""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from threading import Event
from typing import Final, TypeVar

from beamstep.client import Client
from benchmarks import search_overhead
from benchmarks.bare_loop import BareLoop, Prepared, TimedModel
from benchmarks.clients import ClientProcess, options_of
from benchmarks.workload import LENGTHS, LONG, SHORT, Request, Workload
from serving.decoding.search import decode
from serving.engine import Engine

Item = TypeVar("Item")

CLIENTS: Final = 32
BLOCK: Final = 8
"""Requests of one client before it is the other side's turn."""
PROBES: Final = 12
SETTLING_PROBES: Final = 3
SETTLE_S: Final = 0.3
"""Between loads: what was cancelled is gone and no thread spins any more."""
OVERHEAD_TURNS: Final = 2000


@dataclass
class Bench:
    """What is measured: one bundle, in this process and served, and who calls.

    Attributes:
        bare: the bundle in this process.
        workload: makes requests for it.
        client: one client, in this process.
        clients: many, in another.
        pids: every process that takes part.
    """

    bare: BareLoop
    workload: Workload
    client: Client
    clients: ClientProcess
    pids: tuple[int, ...]

    def seconds(self, request: Request) -> float:
        """Return how long one request takes through the server."""
        began = time.perf_counter()
        self.client.translate(request.text, options=options_of(request))
        return time.perf_counter() - began

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Turn requests into what the search takes."""
        return [self.bare.prepare(request) for request in requests]


@dataclass(frozen=True)
class Outcome:
    """What one repeat gave.

    Attributes:
        value: the row's figure.
        parts: what it was made of, by name, for the note beside it.
    """

    value: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        number: as in the issue.
        title: what it is.
        unit: of its figure; "" is a ratio.
        target: what the figure should reach.
        at_most: whether it should be no more than the target, or no less.
        measure: makes one repeat.
        bundled: whether it is about a bundle.
    """

    number: int
    title: str
    unit: str
    target: float
    at_most: bool
    measure: Callable[[Bench], Outcome]
    bundled: bool = True

    def met(self, value: float) -> bool:
        """Say whether a figure reaches the target."""
        return value <= self.target if self.at_most else value >= self.target


# ---- 1: what the server adds to one request


def one_client(bench: Bench) -> Outcome:
    """Return the median latency through the server over that of the bare loop, the same sentences in the same order."""
    requests = bench.workload.natural(_spread(LENGTHS))
    served, bare = [], []
    for block in _blocks(requests):
        prepared = bench.prepare(block)
        served += [bench.seconds(request) for request in block]
        bare += [bench.bare.seconds([one]) for one in prepared]
    served_ms, bare_ms = statistics.median(served) * 1e3, statistics.median(bare) * 1e3
    return Outcome(served_ms / bare_ms, {"served ms": served_ms, "bare ms": bare_ms})


# ---- 2 and 3: throughput


def against_offline_batch(bench: Bench) -> Outcome:
    """Return the sentences a second of 32 clients over those of 32 sentences decoded in one go, all of one length."""
    requests = bench.workload.requests([SHORT] * CLIENTS)
    offline = [_offline_s(bench, requests) for _ in range(2)]
    load = bench.clients.measure(requests, clients=CLIENTS, skip=CLIENTS, count=8 * CLIENTS)
    time.sleep(SETTLE_S)
    offline += [_offline_s(bench, requests) for _ in range(2)]
    per_second = CLIENTS / statistics.median(offline)
    return Outcome(load.per_second / per_second, {"served /s": load.per_second, "offline /s": per_second})


def against_static_batches(bench: Bench) -> Outcome:
    """Return the tokens a second of 32 clients over those of static batches: every answer stepped on until the longest is over.

    Beside it, static batches that at least drop the rows of an answer that is over, as `decode` does.
    """
    requests = list(chain.from_iterable(bench.workload.mixed() for _ in range(4)))
    static, dropping = [], []
    tokens = 0
    for batch in (requests[:CLIENTS], requests[-CLIENTS:]):
        longest = max(request.answer_length or 0 for request in batch)
        padded = [bench.workload.request(request.pieces, longest) for request in batch]
        static.append(_offline_s(bench, padded))
        dropping.append(_offline_s(bench, batch))
        tokens += sum(request.answer_length or 0 for request in batch)
    first = bench.workload.mixed_under_way(CLIENTS)
    load = bench.clients.measure(requests, clients=CLIENTS, skip=CLIENTS, count=len(requests), first=first)
    time.sleep(SETTLE_S)
    served, slow, better = load.tokens_per_second, tokens / sum(static), tokens / sum(dropping)
    parts = {"served tokens/s": served, "static": slow, "dropping": better, "over dropping": served / better}
    return Outcome(served / slow, parts)


# ---- 4 to 6: the time between two graph runs


def share_of_search(bench: Bench) -> Outcome:
    """Return the percentage of the time that is not the graph's, 8 requests in the engine; beside it, in the plain loop."""
    prepared = bench.prepare(bench.workload.natural(_spread(LENGTHS)))
    model = TimedModel(bench.bare.model)
    loop = []
    for block in _blocks(prepared):
        model.begin()
        decode(model, [one.inputs for one in block], [one.options for one in block])
        loop.append((sum(model.graph_ns), sum(model.between_ns)))
    between, graph = sum(between for _, between in loop), sum(graph for graph, _ in loop)
    model.begin()
    _keep_running(model, prepared, BLOCK, 3 * len(prepared))
    parts = {
        "graph us": statistics.median(model.graph_ns) / 1e3,
        "between us": statistics.median(model.between_ns) / 1e3,
        "in the plain loop %": 100 * between / (graph + between),
    }
    return Outcome(100 * model.share(), parts)


def _keep_running(model: TimedModel, prepared: Sequence[Prepared], requests: int, count: int) -> None:
    """Answer `count` requests in an engine, `requests` at a time."""
    left = iter(range(count - requests))
    ended = Event()
    answered: list[None] = []

    def go_on(_: object) -> None:
        answered.append(None)
        number = next(left, None)
        if number is not None:
            submit(number)
        elif len(answered) == count:
            ended.set()

    with Engine({"model": model}) as engine:

        def submit(number: int) -> None:
            one = prepared[number % len(prepared)]
            engine.submit("model", one.inputs, one.options).future.add_done_callback(go_on)

        for number in range(requests):
            submit(number)
        ended.wait()


def between_runs(requests: int) -> Callable[[Bench], Outcome]:
    """Return a measurement of the microseconds between two graph runs of the engine, the graphs replaced by prepared answers."""

    def measure(_: Bench) -> Outcome:
        engine = search_overhead.measure_engine(requests, search_overhead.BEAM_SIZE, OVERHEAD_TURNS)
        search = search_overhead.measure_search(requests, search_overhead.BEAM_SIZE, OVERHEAD_TURNS)
        parts = {"search alone us": search.median_us, "processor us": engine.processor_us}
        return Outcome(engine.median_us, parts)

    return measure


# ---- 7: neighbours


def short_among_long(bench: Bench) -> Outcome:
    """Return a short request's median latency among 31 long ones over that among 31 short ones."""
    long = bench.workload.requests([LONG] * CLIENTS)
    short = bench.workload.requests([SHORT] * CLIENTS)
    among = {
        "among long ms": _probe(bench, long, bench.workload.under_way(LONG, CLIENTS - 1)),
        "among short ms": _probe(bench, short, bench.workload.under_way(SHORT, CLIENTS - 1)),
    }
    return Outcome(among["among long ms"] / among["among short ms"], among)


def _probe(bench: Bench, neighbours: Sequence[Request], first: Sequence[Request]) -> float:
    """Return the median milliseconds of short requests while 31 clients are kept answered."""
    probes = bench.workload.requests([SHORT] * (SETTLING_PROBES + PROBES))
    with bench.clients.background(neighbours, clients=CLIENTS - 1, first=first):
        seconds = [bench.seconds(probe) for probe in probes]
    time.sleep(SETTLE_S)
    return statistics.median(seconds[SETTLING_PROBES:]) * 1e3


# ---- 8: everything an answer can bring


def added_latency(bench: Bench) -> Outcome:
    """Return the percentage that attention, log-probs and 5 hypotheses add to one client's median latency.

    Answers have the same length with and without, since 5 hypotheses also search longer.
    """
    latency: dict[bool, list[float]] = {False: [], True: []}
    for block in _blocks(bench.workload.requests(_spread(LENGTHS))):
        latency[False] += [bench.seconds(request) for request in block]
        latency[True] += [bench.seconds(_with_everything(request)) for request in block]
    plain, full = statistics.median(latency[False]), statistics.median(latency[True])
    return Outcome(100 * (full / plain - 1), {"with ms": 1e3 * full, "without ms": 1e3 * plain})


def added_load(bench: Bench) -> Outcome:
    """Return the percentage of time that they add to a load of 32 clients; answers as in `added_latency`."""
    plain = bench.workload.requests(_spread(LENGTHS))
    full = [_with_everything(request) for request in plain]
    loads = []
    for requests in (plain, full, full, plain):
        loads.append(bench.clients.measure(requests, clients=CLIENTS, skip=CLIENTS, count=3 * CLIENTS).per_second)
        time.sleep(SETTLE_S)
    without, with_all = (loads[0] + loads[3]) / 2, (loads[1] + loads[2]) / 2
    return Outcome(100 * (without / with_all - 1), {"with /s": with_all, "without /s": without})


def _with_everything(request: Request) -> Request:
    return Request(request.text, request.pieces, request.answer_length, request.banning, everything=True)


# ---- helpers


def _spread(lengths: Sequence[int]) -> list[int]:
    """Return the lengths in an order in which every block has short and long ones; the same every time."""
    return random.Random(0).sample(lengths, len(lengths))


def _blocks(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + BLOCK] for start in range(0, len(items), BLOCK)]


def _offline_s(bench: Bench, requests: Sequence[Request]) -> float:
    """Return how long a batch takes in this process, everything before it having come to rest."""
    prepared = bench.prepare(requests)
    time.sleep(SETTLE_S)
    return bench.bare.seconds(prepared)


ROWS: Final = (
    Row(1, "p50 of one client over the bare loop", "", 1.15, True, one_client),
    Row(2, "throughput of 32 clients over an offline batch of 32", "", 0.92, False, against_offline_batch),
    Row(3, "throughput of 32 clients over static batches, mixed lengths", "", 2, False, against_static_batches),
    Row(4, "search outside the graph, 8 requests, share of the time", "%", 10, True, share_of_search),
    Row(5, "between two graph runs, 1 request", "us", 60, True, between_runs(1), bundled=False),
    Row(6, "between two graph runs, 32 requests", "us", 400, True, between_runs(32), bundled=False),
    Row(7, "a short request among 31 long over among 31 short", "", 1.2, True, short_among_long),
    Row(8, "added by attention, log-probs, 5 hypotheses, latency", "%", 5, True, added_latency),
    Row(10, "the same, time of 32 clients", "%", 5, True, added_load),
)
