"""Ten times the sustainable load: the server goes on answering and refuses the rest; times are for the long form."""

import asyncio
from collections.abc import Iterator

import grpc
import pytest
from grpc import StatusCode

from benchmarks.faults.calls import ask, sound_requests
from benchmarks.faults.overload import overload
from benchmarks.faults.servers import WatchedProcess, watched
from benchmarks.faults.watched import Setup


@pytest.fixture
def server() -> Iterator[WatchedProcess]:
    """A server whose steps cost time and no processor, so that the load can be more than it can do."""
    limits = {"waiting_requests": 16, "batch_rows": 16}
    with watched(Setup("", kind="planned", step_s=0.01, limits=limits)) as server:
        yield server


async def test_ten_times_the_load_is_answered_in_part_and_refused_in_part(server):
    outcome = await overload(server, sound_requests()[0], seconds=3, peak_s=2, clients=12)
    assert not outcome.wrong, outcome


async def test_calls_that_come_all_at_once_are_refused_with_a_reason(server):
    """By the server's own words, not dropped by gRPC as cancelled."""
    sound = sound_requests()[0]
    async with grpc.aio.insecure_channel(server.address) as channel:
        ended = await asyncio.gather(*(ask(channel, sound, 120) for _ in range(4000)))
    assert {one.code for one in ended} == {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED}
    assert all("retry later" in one.details for one in ended if one.code is not StatusCode.OK)
