"""Several processes behind one port: all serve, one that dies is replaced, and all end together."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from beamstep.client import Client
from serving.errors import BadConfiguration
from serving.workers import _reserved, share_out

SHIPPED = Path(__file__).parents[2] / "models"
BEAMSTEP = str(Path(sys.executable).with_name("beamstep"))
SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]


class Workers:
    """`beamstep serve --workers 2`, with its log."""

    def __init__(self, *options: str) -> None:
        command = [BEAMSTEP, "serve", "--models", str(SHIPPED), "--services", "pointing"]
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0", "--workers", "2", "--no-spinning", *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def wait_for(self, pattern: str, count: int = 1) -> list[re.Match]:
        ends = time.monotonic() + 120
        while time.monotonic() < ends:
            found = [match for line in list(self.lines) if (match := re.search(pattern, line))]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{pattern} not {count} times in:\n{''.join(self.lines)}")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.reader.join()
        return status


@pytest.fixture
def workers():
    running = Workers("--http-port", "0")
    yield running
    running.process.terminate()
    running.process.wait(60)
    running.reader.join()
    running.process.stderr.close()


def ask(address: str) -> bool:
    """Ask over a connection of its own, so that the kernel chooses a worker anew."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel:
        # Not channel_ready_future, whose thread raises where it meets a channel that has just been closed.
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20, wait_for_ready=True)
    with Client(address, timeout_s=30) as client:
        return client.find_convex_hull(SQUARE).hypotheses[0].exact


def counted_calls(port: str) -> float:
    """Ask one worker for the metrics of all; each writes its own down as it goes."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    found = re.findall(
        r'^beamstep_calls_total\{code="OK",method="[^"]*FindConvexHull"[^}]*\} (\S+)$', text, re.MULTILINE
    )
    return sum(map(float, found))


def test_workers_share_a_port_and_a_dead_one_is_replaced(workers):
    port = workers.wait_for(r"serving on 127\.0\.0\.1:(\d+)", 2)[0][1]
    address = f"127.0.0.1:{port}"
    first = {int(match[1]) for match in workers.wait_for(r"worker \d is process (\d+)", 2)}
    assert len(first) == 2
    assert all(ask(address) for _ in range(8))
    assert counted_calls(workers.wait_for(r"HTTP on 127\.0\.0\.1:(\d+)", 2)[0][1]) >= 8, "of both together"
    killed = min(first)
    os.kill(killed, signal.SIGKILL)
    workers.wait_for(rf"process {killed}\) ended with status -9")
    assert all(ask(address) for _ in range(4)), "the other one answers meanwhile"
    workers.wait_for(r"worker \d is process (\d+)", 3)
    workers.wait_for("serving on", 3)
    assert all(ask(address) for _ in range(4))
    assert workers.end() == 0
    assert "".join(workers.lines).count("stopped") == 2


def test_a_bundle_that_is_not_there_ends_them_all(tmp_path):
    done = subprocess.run(
        [BEAMSTEP, "serve", "--models", str(tmp_path), "--workers", "2", "--port", "0"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_somebody_has_is_refused():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BadConfiguration, match=f"port: cannot listen on 127.0.0.1:{port}"):
            _reserved("port", "127.0.0.1", port)


@pytest.mark.parametrize(
    ("cores", "count", "shares"),
    [
        ([0, 1, 2, 3], 2, [{0, 1}, {2, 3}]),
        ([4, 5, 6], 2, [{4}, {5}]),
        ([7], 2, [{7}, {7}]),
    ],
)
def test_equal_shares_of_the_cores(cores, count, shares):
    assert share_out(cores, count) == [frozenset(share) for share in shares]
