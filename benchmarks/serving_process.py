"""`beamstep serve`, or another server, as a process of its own on a free port of this machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from serving.health_check import is_serving

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 30.0


class ServingError(Exception):
    """The server did not start or did not stop as it should; the message has its last words."""


@dataclass(frozen=True)
class ServingProcess:
    """A server that answers.

    Attributes:
        address: `host:port`.
        pid: its process.
    """

    address: str
    pid: int

    @property
    def pids(self) -> tuple[int, ...]:
        """Return its process and those that it has begun, such as workers; Linux only."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        return (self.pid, *map(int, children))

    @property
    def resident_bytes(self) -> int:
        """Return how much memory it holds right now, its children's not counted; Linux only."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(models: Path, options: Sequence[str] = (), services: str = "translation") -> Iterator[ServingProcess]:
    """Serve the bundles of a folder within a block.

    Args:
        models: the folder of bundles.
        options: further ones of `beamstep serve`.
        services: which services; "" for all that there are bundles for.

    Raises:
        ServingError: it did not come up, or did not stop cleanly.
    """
    beamstep = Path(sys.executable).with_name("beamstep")
    chosen = ["--services", services] if services else []
    what = [str(beamstep), "serve", "--models", str(models), *chosen, "--grace", "1", *options]
    with running(lambda host, port: [*what, "--host", host, "--port", str(port)]) as process:
        yield process


@contextmanager
def running(command: Callable[[str, int], Sequence[str]]) -> Iterator[ServingProcess]:
    """Run any gRPC server that has the standard health service and ends at SIGTERM, within a block.

    Args:
        command: what starts it, of the host and the free port that it shall listen on.

    Raises:
        ServingError: it did not come up, or did not stop cleanly.
    """
    host, port = "127.0.0.1", _free_port()
    address = f"{host}:{port}"
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(list(command(host, port)), stdout=log, stderr=log) as process,
    ):
        try:
            _wait_until_serving(process, address, log)
            yield ServingProcess(address, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        if status != 0:
            raise ServingError(f"the server stopped with status {status}: {_last_line(log)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_serving(process: subprocess.Popen[bytes], address: str, log: IO[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not is_serving(address, timeout_s=1):
        if process.poll() is not None:
            raise ServingError(f"the server did not start: {_last_line(log)}")
        if time.monotonic() > until:
            raise ServingError(f"the server did not answer SERVING within {START_TIMEOUT_S:g} s")
        time.sleep(0.05)


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
