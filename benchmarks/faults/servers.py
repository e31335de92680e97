"""Watched servers, from the other side: started, looked at, and ended."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from benchmarks.faults.watched import Look, Setup
from benchmarks.serving_process import ServingError

MODULES: Final = {
    "shipped": "benchmarks.faults.watched",
    "planned": "tests.fakes.planned_server",
    "troubled": "tests.fakes.planned_server",
}
"""What serves which kind; the fakes are found where the command is run at the root of the repository."""
STOP_TIMEOUT_S: Final = 60.0
SETTLE_S: Final = 60.0
ROOT: Final = Path(__file__).parents[2]


class WatchedProcess:
    """A server in a process of its own.

    Attributes:
        address: `host:port`, once it serves.
        setup: what it was told.
    """

    def __init__(self, setup: Setup) -> None:
        """Start it; `wait_until_serving` says when it answers."""
        self.setup = setup
        self.address = ""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULES[setup.kind], json.dumps(asdict(setup))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._process.pid

    def processor_s(self) -> float:
        """Return the seconds of a core that it has used so far."""
        return processor_s(self.pid)

    def wait_until_serving(self) -> None:
        """Wait for its models to be loaded; raises ServingError where that never comes."""
        port = json.loads(self._line())["port"]
        self.address = f"127.0.0.1:{port}"

    def look(self) -> Look:
        """Return what the server holds right now."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"look\n")
        self._process.stdin.flush()
        return Look(**json.loads(self._line()))

    def look_when(self, settled: Callable[[Look], bool]) -> Look:
        """Look until something is so, or `SETTLE_S` have passed; return the last look."""
        until = time.monotonic() + SETTLE_S
        while not settled(look := self.look()) and time.monotonic() < until:
            time.sleep(0.05)
        return look

    def look_settled(self, settled: Callable[[Look], bool]) -> Look:
        """Look until something is so and the server holds the same for half a second, or `SETTLE_S` have passed."""
        until = time.monotonic() + SETTLE_S
        look = self.look_when(settled)
        while time.monotonic() < until:
            time.sleep(0.5)
            before, look = look, self.look()
            if settled(look) and (look.tasks, look.descriptors) == (before.tasks, before.descriptors):
                break
        return look

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; return its exit status, a negative number being the signal that ended it."""
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise ServingError(f"the server did not stop within {STOP_TIMEOUT_S:g} s") from None

    def kill(self) -> None:
        """End it by SIGKILL, where it would not end otherwise."""
        self._process.kill()

    def stop(self) -> int:
        """End it if it runs, and let go of all that it held; return its exit status."""
        try:
            if self._process.poll() is None:
                self.send(signal.SIGTERM)
            return self.wait()
        finally:
            for pipe in (self._process.stdin, self._process.stdout, self._log):
                assert pipe is not None
                pipe.close()

    def log(self) -> str:
        """Return what it has logged so far."""
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode(errors="replace")

    def tracebacks(self) -> int:
        """Return how many tracebacks it has logged so far."""
        return self.log().count("Traceback (most recent call last)")

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self.log().strip().splitlines() or ["it said nothing"]
            raise ServingError(f"the server ended: {said[-1]}")
        return line


def processor_s(pid: int) -> float:
    """Return the seconds of a core that a process has used so far; Linux only."""
    used = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def confined(cores: Collection[int]) -> Iterator[None]:
    """Let this thread, and processes that it starts within the block, run on these cores alone, if there are any; Linux only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def watched(setup: Setup) -> Iterator[WatchedProcess]:
    """Serve within a block; planned models are made in a folder that is thrown away, where none is given."""
    with tempfile.TemporaryDirectory() as scratch:
        process = WatchedProcess(setup if setup.models else replace(setup, models=scratch))
        try:
            process.wait_until_serving()
            yield process
        finally:
            process.stop()
