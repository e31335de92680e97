"""Kills one of two servers behind nginx while clients call, and starts it again: python -m benchmarks.load_balancer.

Needs nginx (Debian's package `nginx-light`). The balancer's configuration is deploy/load-balancer.conf, unchanged: port 50060,
servers on 50061 and 50062. Each client retries UNAVAILABLE as `beamstep.client.Client` does by default, and checks every answer.
"""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer

from beamstep.client import Client
from beamstep.errors import ServiceError
from benchmarks.nginx import NoNginxError, nginx
from serving.health_check import is_serving

ROOT: Final = Path(__file__).parents[1]
CONFIGURATION: Final = "load-balancer.conf"
BALANCER: Final = "127.0.0.1:50060"
PORTS: Final = (50061, 50062)
SQUARE: Final = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
CORNERS: Final = [0, 1, 2, 3]
START_S: Final = 120.0


def load_balancer(
    *,
    seconds: Annotated[float, typer.Option(min=3, help="How long to call; the kill comes after a third.")] = 30.0,
    clients: Annotated[int, typer.Option(min=1, help="Calls at a time.")] = 8,
) -> None:
    """Print how many calls were answered before, while and after a server was dead, and how many failed."""
    servers = [_serve(port) for port in PORTS]
    try:
        for port in PORTS:
            _wait_until_serving(port)
        with nginx(CONFIGURATION, BALANCER):
            answers = _Answers()
            threads = [threading.Thread(target=answers.collect) for _ in range(clients)]
            for thread in threads:
                thread.start()
            time.sleep(seconds / 3)
            answers.phase = "one killed"
            servers[0].send_signal(signal.SIGKILL)
            servers[0].wait()
            time.sleep(seconds / 3)
            servers[0] = _serve(PORTS[0])
            _wait_until_serving(PORTS[0])
            answers.phase = "started again"
            time.sleep(seconds / 3)
            answers.over.set()
            for thread in threads:
                thread.join()
    except NoNginxError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    for phase in ("both", "one killed", "started again"):
        typer.echo(
            f"{phase}: {answers.right[phase]} answered, {answers.wrong[phase]} wrong, {answers.failed[phase]} failed"
        )
    if answers.wrong.total() or answers.failed.total() or not answers.right["one killed"]:
        raise typer.Exit(1)


class _Answers:
    """What the clients got, by phase."""

    def __init__(self) -> None:
        self.phase = "both"
        self.over = threading.Event()
        self.right: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def collect(self) -> None:
        """Call until it is over."""
        with Client(BALANCER, timeout_s=20) as client:
            while not self.over.is_set():
                try:
                    corners = list(client.find_convex_hull(SQUARE).hypotheses[0].point_indices)
                    counter = self.right if corners == CORNERS else self.wrong
                except ServiceError as error:
                    typer.echo(f"{self.phase}: {error}", err=True)
                    counter = self.failed
                with self._lock:
                    counter[self.phase] += 1


def _serve(port: int) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("beamstep")), "serve", "--models", str(ROOT / "models")]
    options = [
        "--services",
        "pointing",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-spinning",
        "--step-threads",
        "1",
    ]
    return subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)


def _wait_until_serving(port: int) -> None:
    ends = time.monotonic() + START_S
    while not is_serving(f"127.0.0.1:{port}"):
        if time.monotonic() > ends:
            typer.echo(f"error: no server on port {port} after {START_S:g} s", err=True)
            raise typer.Exit(1)
        time.sleep(0.1)


if __name__ == "__main__":
    typer.run(load_balancer)
