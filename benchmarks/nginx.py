"""nginx (Debian's package `nginx-light`) with a configuration of deploy/, as it stands."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc

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
        grpc.FutureTimeoutError: nothing listens there after `START_S`.
    """
    found = shutil.which("nginx", path=PATHS)
    if found is None:
        raise NoNginxError("no nginx on this machine; allowed: after `apt-get install nginx-light`")
    command = [found, "-c", str(DEPLOY / configuration), "-g", "daemon off;"]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(START_S)
        yield running.pid
    finally:
        running.terminate()
        running.wait()
