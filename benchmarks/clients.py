"""Many clients in one process of their own, each sending its next request when its last was answered.

with ClientProcess(address) as clients:
    load = clients.measure(requests, clients=32, skip=32, count=96)
    with clients.background(requests, clients=31): ...
"""

import asyncio
import itertools
import multiprocessing
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Final, Self

from beamstep.client import AsyncClient, DecodingOptions
from benchmarks.workload import Request

TIMEOUT_S: Final = 600.0
"""Of one call: a slow machine shall give a slow figure and no error."""


@dataclass(frozen=True)
class Job:
    """What the clients shall do.

    Attributes:
        requests: sent in this order, by whichever client is free; after the last comes the first again.
        first: sent before them, one a client.
        clients: how many.
        skip: answers that are not measured.
        count: answers that are; None goes on until told to stop.
    """

    requests: tuple[Request, ...]
    first: tuple[Request, ...]
    clients: int
    skip: int
    count: int | None


@dataclass(frozen=True)
class Answered:
    """One answer, on the clients' clock."""

    began: float
    ended: float
    tokens: int


@dataclass(frozen=True)
class Load:
    """What was measured.

    Attributes:
        answers: those that count, in the order they came.
        began: when the last that does not count came.
    """

    answers: tuple[Answered, ...]
    began: float

    @property
    def per_second(self) -> float:
        """Return the answers of a second."""
        return len(self.answers) / self._lasted

    @property
    def tokens_per_second(self) -> float:
        """Return the tokens of the best hypotheses of a second."""
        return sum(answer.tokens for answer in self.answers) / self._lasted

    @property
    def median_s(self) -> float:
        """Return the median latency."""
        return statistics.median(answer.ended - answer.began for answer in self.answers)

    @property
    def _lasted(self) -> float:
        return self.answers[-1].ended - self.began


class ClientProcess:
    """The process, from entering the block to leaving it."""

    def __init__(self, address: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(address, theirs), name="clients", daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    @property
    def pid(self) -> int:
        """Return the process's number."""
        assert self._process.pid is not None
        return self._process.pid

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.is_alive():
            self._pipe.send(None)
            self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def measure(
        self, requests: Sequence[Request], *, clients: int, skip: int, count: int, first: Sequence[Request] = ()
    ) -> Load:
        """Keep `clients` requests running until `count` answers came after the first `skip`; what runs then is cancelled."""
        self._pipe.send(Job(tuple(requests), tuple(first), clients, skip, count))
        return self._receive()

    @contextmanager
    def background(self, requests: Sequence[Request], *, clients: int, first: Sequence[Request] = ()) -> Iterator[None]:
        """Keep `clients` requests running while the block lasts, which begins when one of them was answered."""
        self._pipe.send(Job(tuple(requests), tuple(first), clients, 0, None))
        self._receive()
        try:
            yield
        finally:
            self._pipe.send(None)
            self._receive()

    def _receive(self) -> Load:
        """Return what the process sends, or raise what ended it."""
        answer = self._pipe.recv()
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Load)
        return answer


def options_of(request: Request) -> DecodingOptions:
    """Return a request's options as the client sends them."""
    return DecodingOptions(
        beam_size=request.beam_size,
        hypothesis_count=request.hypothesis_count,
        min_length=request.min_length,
        max_length=request.answer_length,
        include_attention=request.everything,
    )


def _work(address: str, pipe: Connection) -> None:
    """Do jobs until None comes; in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    asyncio.run(_do_jobs(address, pipe))


async def _do_jobs(address: str, pipe: Connection) -> None:
    async with AsyncClient(address, timeout_s=TIMEOUT_S) as client:
        while isinstance(job := await asyncio.to_thread(pipe.recv), Job):
            try:
                pipe.send(await _do(client, job, pipe))
            except Exception as error:  # the other side raises it
                pipe.send(RuntimeError(f"a client failed: {error!r}"))


async def _do(client: AsyncClient, job: Job, pipe: Connection) -> Load:
    answers: list[Answered] = []
    enough = asyncio.Event()
    left = itertools.chain(job.first, itertools.cycle(job.requests))

    async def send_one_after_another() -> None:
        for request in left:
            began = time.perf_counter()
            answer = await client.translate(request.text, options=options_of(request))
            tokens = len(answer.hypotheses[0].decoding.tokens)
            answers.append(Answered(began, time.perf_counter(), tokens))
            if job.count is None and len(answers) == 1:
                pipe.send(Load((), began))
            if job.count is not None and len(answers) >= job.skip + job.count:
                enough.set()

    ending = asyncio.create_task(enough.wait() if job.count is not None else asyncio.to_thread(pipe.recv))
    sending = [asyncio.create_task(send_one_after_another()) for _ in range(job.clients)]
    began = time.perf_counter()
    done, _ = await asyncio.wait([ending, *sending], return_when=asyncio.FIRST_COMPLETED)
    for task in sending:
        task.cancel()
    for task in sending:
        with suppress(asyncio.CancelledError):
            await task  # raises what went wrong in it
    assert ending in done
    counted = answers[job.skip :][: job.count]
    return Load(tuple(counted), answers[job.skip - 1].ended if job.skip else began)
