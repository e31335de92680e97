"""`beamstep serve` as a process of its own on a free port of this machine, for sweeps over what a server can be told."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

from beamstep.bench.contact import contact
from beamstep.bench.errors import BadInput, ServerFailed
from beamstep.channel import Endpoint, RetryPolicy

START_TIMEOUT_S: Final = 300.0
STOP_TIMEOUT_S: Final = 60.0
HOST: Final = "127.0.0.1"
TAKEN: Final = ("--port", "--host")
ONE_LINE: Final = {"COLUMNS": "1000"}
"""So that a usage error is not broken into lines, of which the last alone is told."""


@contextmanager
def serving(options: str) -> Iterator[Endpoint]:
    """Serve with these options of `beamstep serve` within a block.

    Raises:
        BadInput: the options cannot be taken apart, or say where to listen.
        ServerFailed: it did not come up, or did not stop cleanly.
    """
    try:
        given = shlex.split(options)
    except ValueError as error:
        raise BadInput(f"--serve: {options!r}: {error}; allowed: options of beamstep serve") from None
    for option in given:
        if option.partition("=")[0] in TAKEN:
            raise BadInput(f"--serve: {option}; allowed: options other than {' and '.join(TAKEN)}")
    port = _free_port()
    start = [sys.executable, "-c", "from beamstep.cli import main; main()", "serve"]
    command = [*start, "--host", HOST, "--port", str(port), *given]
    endpoint = Endpoint(f"{HOST}:{port}", retry=RetryPolicy(attempts=1))
    environment = os.environ | ONE_LINE
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            _wait_until_serving(process, endpoint, log)
            yield endpoint
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        if status != 0:
            raise ServerFailed(f"--serve: the server stopped with status {status}: {_last_line(log)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_serving(process: subprocess.Popen[bytes], endpoint: Endpoint, log: IO[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    with contact(endpoint, 1.0) as server:
        while not server.serving(timeout_s=1.0):
            if process.poll() is not None:
                raise ServerFailed(f"--serve: the server ended with status {process.returncode}: {_last_line(log)}")
            if time.monotonic() > until:
                raise ServerFailed(f"--serve: the server was not ready within {START_TIMEOUT_S:g} s")
            time.sleep(0.05)


def _last_line(log: IO[bytes]) -> str:
    """Return the last line with a letter in it, out of the box that a usage error stands in."""
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return next((line.strip(" │") for line in reversed(lines) if any(map(str.isalpha, line))), "it said nothing")
