"""Several server processes behind one port: started, watched, started again, and stopped together.

Each worker is a whole server with engine, models and a share of the cores of its own. All listen on the same port with
SO_REUSEPORT, so that the kernel deals connections out among them: a connection stays with the worker that took it. The parent
only reserves the port and looks after the workers; it serves nothing.
"""

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from serving.config import ServerConfig
from serving.errors import BadBundle, BadConfiguration
from serving.http.config import HttpConfig
from serving.observation.metrics import MULTIPROCESS
from serving.process import serve

logger = logging.getLogger(__name__)

BAD_START: Final = 2
"""Exit status of a worker that cannot serve what it was told to; another try would end the same way."""
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 60.0
"""A worker that lived so long counts as sound: if it dies, the next one starts after the shortest pause again."""
PR_SET_PDEATHSIG: Final = 1


@dataclass
class Place:
    """One worker's place among the others.

    Attributes:
        number: from 1.
        cores: those it may run on; empty for all.
        process: the one that fills it now; None while it is empty.
        began: when that was started, on time.monotonic's clock.
        pause_s: how long the place stays empty when its process dies.
        due: when the next process is to start.
    """

    number: int
    cores: frozenset[int]
    process: SpawnProcess | None = None
    began: float = 0.0
    pause_s: float = 0.5
    due: float = 0.0


def supervise(config: ServerConfig, count: int, prepare: Callable[[], None]) -> int:
    """Keep `count` workers serving until SIGTERM or SIGINT, and pass every such signal on to them.

    Args:
        config: of each worker, its threads already those of a share.
        count: from 2.
        prepare: run first in each worker, to set up logging; a function that a new process can import.

    Returns:
        the exit status: 0, or that of a worker which could not start at all.

    Raises:
        BadConfiguration: a port is taken, or an option is for one process alone.
    """
    _check_together(config)
    with (
        _reserved("port", config.host, config.port) as grpc_socket,
        _http_reserved(config) as http,
        tempfile.TemporaryDirectory(prefix="beamstep-metrics-") as figures,
    ):
        os.environ[MULTIPROCESS] = figures  # the workers read it as they import prometheus_client
        shared = replace(config, port=grpc_socket.getsockname()[1], http=http, shares_port=True)
        return _Supervisor(shared, count, prepare, Path(figures)).run()


class _Supervisor:
    """The parent's loop."""

    def __init__(self, config: ServerConfig, count: int, prepare: Callable[[], None], figures: Path) -> None:
        self._config = config
        self._figures = figures
        self._prepare = prepare
        self._spawn = multiprocessing.get_context("spawn")
        shares = share_out(sorted(os.sched_getaffinity(0)), count)
        self._places = [Place(number, cores) for number, cores in enumerate(shares, start=1)]
        self._signals = 0
        self._status = 0

    def run(self) -> int:
        """Return once the last worker has ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        logger.info("%d workers on %s:%d", len(self._places), self._config.host, self._config.port)
        while True:
            now = time.monotonic()
            for place in self._places:
                if place.process is None and not self._signals and now >= place.due:
                    self._start(place)
            running = [place.process.sentinel for place in self._places if place.process is not None]
            if not running and self._signals:
                return self._status
            wait(running, timeout=0.2)
            for place in self._places:
                if place.process is not None and not place.process.is_alive():
                    self._bury(place)

    def _start(self, place: Place) -> None:
        place.process = self._spawn.Process(
            target=_work, args=(self._config, place.number, place.cores, self._prepare), name=f"worker-{place.number}"
        )
        place.began = time.monotonic()
        place.process.start()

    def _bury(self, place: Place) -> None:
        """Take note of a worker's end: another one follows, or none if it was told to, or can never start."""
        process = place.process
        assert process is not None
        process.join()
        place.process = None
        mark_process_dead(process.pid, str(self._figures))  # type: ignore[no-untyped-call]
        if self._signals:
            return
        if process.exitcode == BAD_START:
            self._status = BAD_START
            self._pass_on(signal.SIGTERM, None)
            return
        lived = time.monotonic() - place.began
        place.pause_s = 0.5 if lived >= STEADY_S else min(2 * place.pause_s, LONGEST_PAUSE_S)
        place.due = time.monotonic() + place.pause_s
        logger.error(
            "worker %d (process %d) ended with status %s after %.1f s; the next starts in %.1f s",
            *(place.number, process.pid, process.exitcode, lived, place.pause_s),
        )

    def _pass_on(self, number: int, _: object) -> None:
        self._signals += 1
        for place in self._places:
            if place.process is not None and place.process.pid is not None and place.process.is_alive():
                os.kill(place.process.pid, number)


def share_out(cores: Sequence[int], count: int) -> list[frozenset[int]]:
    """Return the cores of each of `count` workers: equal shares next to one another, or all for each where there are fewer."""
    size = len(cores) // count
    if size == 0:
        return [frozenset(cores)] * count
    return [frozenset(cores[place * size : (place + 1) * size]) for place in range(count)]


def _work(config: ServerConfig, number: int, cores: frozenset[int], prepare: Callable[[], None]) -> None:
    """Be a worker."""
    # Signals of the terminal go to the parent, which passes them on once. If it is killed, this process is told to stop.
    os.setpgrp()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.sched_setaffinity(0, cores)
    prepare()
    logger.info("worker %d is process %d on cores %s", number, os.getpid(), ", ".join(map(str, sorted(cores))))
    try:
        asyncio.run(serve(config))
    except (BadBundle, BadConfiguration) as error:
        logger.error("worker %d cannot serve: %s", number, error)  # noqa: TRY400 - for the operator, who needs no traceback
        raise SystemExit(BAD_START) from None


def _check_together(config: ServerConfig) -> None:
    """Refuse what would reach one of several workers alone."""
    if config.repository.admin:
        raise BadConfiguration("admin: given with several workers, of which a call reaches one; allowed: --watch")
    if config.repository.canaries:
        raise BadConfiguration("canary: given with several workers; allowed: with one")


@contextmanager
def _http_reserved(config: ServerConfig) -> Iterator[HttpConfig]:
    """Reserve the HTTP port, where there is one, within a block; 0 becomes the one that all workers share."""
    if config.http.port is None:
        yield config.http
        return
    with _reserved("http_port", config.http.host or config.host, config.http.port) as reserved:
        yield replace(config.http, port=reserved.getsockname()[1])


def _reserved(option: str, host: str, port: int) -> socket.socket:
    """Return a bound socket that never listens: the port stays the workers' while none of them runs.

    Raises:
        BadConfiguration: somebody else has it, other workers included.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as alone:  # refused where anybody listens, sharing or not
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host, port))
            alone.listen(1)
            taken = alone.getsockname()[1]
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, taken))
    except OSError as error:
        raise BadConfiguration(f"{option}: cannot listen on {host}:{port}: {error.strerror}") from None
    return reserved
