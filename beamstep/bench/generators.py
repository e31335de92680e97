"""Processes that send the requests, each with an event loop of its own, and their common beginning."""

import asyncio
import gc
import multiprocessing
import selectors
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Final, Self

import grpc

from beamstep.bench.arrivals import Times
from beamstep.bench.caller import Caller
from beamstep.bench.errors import GeneratorFailed
from beamstep.bench.loops import closed_loop, open_loop, watch_lag
from beamstep.bench.prepared import Prepared
from beamstep.bench.tally import Frame, Tally, tally
from beamstep.bench.workload import picks
from beamstep.channel import Endpoint
from beamstep.errors import Unavailable

HEADWAY_S: Final = 0.2
"""From when all processes are ready until the first request is due."""


@dataclass(frozen=True)
class Job:
    """What one process shall do.

    Attributes:
        endpoint: the server.
        calls: what can be sent, each as often as its weight says.
        load: when to send, from the common beginning on; or how many clients a closed loop has.
        warm_up_s: what is due before this does not count.
        seconds: how long what counts takes.
        windows: in how many parts it is looked at.
        objective_s: an answer within this is a good one; None calls all good.
        seed: of the choice among `calls`.
        channels: connections.
        timeout_s: of one call.
    """

    endpoint: Endpoint
    calls: tuple[Prepared, ...]
    load: Times | int
    warm_up_s: float
    seconds: float
    windows: int
    objective_s: float | None
    seed: tuple[int, ...]
    channels: int
    timeout_s: float


class Generators:
    """The processes, from entering the block to leaving it."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(count)]
        self._pipes = [ours for ours, _ in pairs]
        self._theirs = [theirs for _, theirs in pairs]
        self._processes = [
            context.Process(target=_work, args=(theirs,), name=f"generator-{place}", daemon=True)
            for place, theirs in enumerate(self._theirs)
        ]

    def __enter__(self) -> Self:
        for process, theirs in zip(self._processes, self._theirs, strict=True):
            process.start()
            theirs.close()  # so that the end of a process is the end of its pipe
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()
            if kind is not None:
                process.kill()
        for process in self._processes:
            process.join()

    def __len__(self) -> int:
        return len(self._processes)

    def run(self, jobs: Sequence[Job]) -> Tally:
        """Do the jobs, one a process, all from the same moment on, and add up what came of them.

        Raises:
            Unavailable: a process found no server.
            GeneratorFailed: a process ended.
        """
        pipes = self._pipes[: len(jobs)]
        for pipe, job in zip(pipes, jobs, strict=True):
            pipe.send(job)
        ready = [self._receive(pipe) for pipe in pipes]  # all of them, so that none is left in a pipe
        begin = time.monotonic() + HEADWAY_S if all(answer is None for answer in ready) else None
        for pipe, answer in zip(pipes, ready, strict=True):
            if answer is None:
                pipe.send(begin)
        if begin is None:
            raise Unavailable(grpc.StatusCode.UNAVAILABLE, next(str(answer) for answer in ready if answer is not None))
        found, *others = [self._receive(pipe) for pipe in pipes]
        assert isinstance(found, Tally)
        for other in others:
            assert isinstance(other, Tally)
            found.add(other)
        return found

    def _receive(self, pipe: Connection) -> object:
        try:
            answer = pipe.recv()
        except (EOFError, ConnectionError):
            raise GeneratorFailed("a generator process ended; its last words stand above") from None
        if isinstance(answer, Exception):
            raise GeneratorFailed(f"a generator process failed: {answer}")
        return answer


def precise_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that wakes up to the microsecond, where epoll's would be up to a millisecond late."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def _work(pipe: Connection) -> None:
    """Do jobs until the pipe is closed; in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        while True:
            try:
                job = pipe.recv()
            except (EOFError, ConnectionError):
                return
            runner.run(_do(job, pipe))


async def _do(job: Job, pipe: Connection) -> None:
    """Tell that all is ready, begin when told to, and tell what came of it."""
    caller = Caller(job.endpoint, job.calls, channels=job.channels, timeout_s=job.timeout_s)
    try:
        try:
            await caller.connect()
        except TimeoutError:
            pipe.send(f"no connection within {job.timeout_s:g} s")
            return
        pipe.send(None)
        begin = await asyncio.to_thread(pipe.recv)
        if begin is not None:
            pipe.send(await _measure(job, caller, begin))
    except Exception as error:  # the other side raises it
        pipe.send(GeneratorFailed(repr(error)))
    finally:
        await caller.close()


async def _measure(job: Job, caller: Caller, begin: float) -> Tally:
    """Send what is to be sent; the garbage collector waits meanwhile, so that it adds to no latency."""
    frame = Frame(begin + job.warm_up_s, job.seconds, job.windows, job.objective_s)
    chosen = picks([call.weight for call in job.calls], job.seed)
    over = asyncio.Event()
    watching = asyncio.create_task(watch_lag(over))
    gc.collect()
    gc.disable()
    processor_s, began = time.process_time(), time.monotonic()
    try:
        if isinstance(job.load, int):
            end = frame.begin + frame.seconds
            outcomes = await closed_loop(caller, job.load, begin, end, chosen)
        else:
            outcomes = await open_loop(caller, (job.load + begin).tolist(), chosen)
    finally:
        processor_s, elapsed_s = time.process_time() - processor_s, time.monotonic() - began
        gc.enable()
        over.set()
    found = tally(outcomes, frame, await watching)
    found.processor_s, found.elapsed_s = processor_s, elapsed_s
    return found
