"""nginx (Debian's package `nginx-light`) with a configuration of deploy/, as it stands."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
PATHS: Final = "/usr/sbin:/usr/bin:/usr/local/bin"
START_S: Final = 20.0


class NoNginxError(Exception):
    """There is none on this machine."""


@contextmanager
def nginx(configuration: str, address: str) -> Iterator[int]:
    """Run nginx within a block, and give its process.

    Args:
        configuration: a file's name under deploy/.
        address: host:port that it listens on by this.

    Raises:
        NoNginxError: it is not installed.
        TimeoutError: nothing listens there after `START_S`.
    """
    found = shutil.which("nginx", path=PATHS)
    if found is None:
        raise NoNginxError("no nginx on this machine; allowed: after `apt-get install nginx-light`")
    command = [found, "-c", str(DEPLOY / configuration), "-g", "daemon off;"]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_until_someone_listens(address)
        yield running.pid
    finally:
        running.terminate()
        running.wait()


def _wait_until_someone_listens(address: str) -> None:
    """Connect and hang up, again and again until it works. TimeoutError after `START_S`."""
    host, port = address.rsplit(":", 1)
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with suppress(ConnectionError), socket.create_connection((host, int(port)), timeout=START_S):
            return
        time.sleep(0.02)
    raise TimeoutError(f"{address}: nothing listens there after {START_S:g} s")
