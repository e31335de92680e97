"""One round of the loop for all bytes that are there; none of the events behind them is lost."""

import asyncio
import functools
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from serving.calls.wakeups import POLLER, gather_wakeups


class PollerCompletionQueue:
    """As grpc.aio's: a byte is written for every event, and one byte is read for all events that are there."""

    def __init__(self):
        self.read_end, self.write_end = socket.socketpair()
        self.events, self.taken, self.rounds = [], [], 0

    def happen(self, event):
        self.events.append(event)
        self.write_end.send(b"1")

    def handle(self, loop):
        assert loop is asyncio.get_running_loop()
        assert self.read_end.recv(1)
        self.rounds += 1
        self.taken += self.events
        self.events.clear()


class Another(PollerCompletionQueue):
    """Whose reader is nobody's business."""


@pytest.mark.parametrize("kind", [PollerCompletionQueue, Another])
async def test_a_round_takes_all_bytes_of_grpcs_socket_and_of_no_other(kind):
    assert PollerCompletionQueue.__name__ == POLLER
    loop, queue = asyncio.get_running_loop(), kind()
    gather_wakeups(loop)
    loop.add_reader(queue.read_end, functools.partial(queue.handle, loop))
    expected = []
    for wave in range(5):
        for event in range(7):
            queue.happen((wave, event))
            expected.append((wave, event))
        for _ in range(10):
            await asyncio.sleep(0)
        assert queue.taken == expected
    assert queue.rounds == (5 if kind is PollerCompletionQueue else 5 * 7)
    assert loop.remove_reader(queue.read_end)
    queue.read_end.close()
    queue.write_end.close()


async def test_grpcs_own_reader_is_known_and_every_call_answered(monkeypatch):
    """If it is not, grpc.aio has changed: see how its poller wakes the loop now."""
    loop = asyncio.get_running_loop()
    added, add_reader = [], loop.add_reader
    monkeypatch.setattr(loop, "add_reader", lambda *of: (added.append(of[1].__name__), add_reader(*of)), raising=False)
    gather_wakeups(loop)
    server = grpc.aio.server()
    assert added == ["gather"]
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        calls = [stub.Check(health_pb2.HealthCheckRequest(), timeout=20) for _ in range(300)]
        answers = await asyncio.gather(*calls)
    assert {answer.status for answer in answers} == {health_pb2.HealthCheckResponse.SERVING}
    await server.stop(0)
