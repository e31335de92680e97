"""One call after the other as bytes over several connections, with the moments that matter."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final

import grpc

from beamstep.bench.loops import Answer
from beamstep.bench.prepared import Prepared, has_committed, read_answer, read_server_timing
from beamstep.channel import Endpoint

OWN_CONNECTION: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
"""Channels to the same address would otherwise share one connection; and nothing may be tried again unseen."""
SERVER_TIMING: Final = "server-timing"


class Caller:
    """Sends prepared calls in turn over its channels; made and used within one event loop."""

    def __init__(self, endpoint: Endpoint, calls: Sequence[Prepared], *, channels: int, timeout_s: float) -> None:
        """Prepare to call; nothing connects before `connect`.

        Args:
            endpoint: the server.
            calls: what can be sent.
            channels: connections, from 1.
            timeout_s: of one call.
        """
        self._calls = calls
        self._timeout_s = timeout_s
        self._metadata = endpoint.metadata
        self._channels = [endpoint.open_async(OWN_CONNECTION) for _ in range(channels)]
        self._turn = itertools.count()
        kinds = {(call.method, call.streams) for call in calls}
        self._methods: list[dict[str, Any]] = [
            {method: (channel.unary_stream if streams else channel.unary_unary)(method) for method, streams in kinds}
            for channel in self._channels
        ]

    async def connect(self) -> None:
        """Wait until all channels are connected. TimeoutError where one is not within the timeout of a call."""
        async with asyncio.timeout(self._timeout_s):
            await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def close(self) -> None:
        """Close all channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def __call__(self, place: int) -> Answer:
        """Send the call at that place, whatever comes of it."""
        prepared = self._calls[place]
        method = self._methods[next(self._turn) % len(self._methods)][prepared.method]
        return await (self._stream if prepared.streams else self._one)(method, prepared)

    async def _one(self, method: Any, prepared: Prepared) -> Answer:
        now = asyncio.get_running_loop().time
        sent = now()
        call = method(prepared.request, timeout=self._timeout_s, metadata=self._metadata)
        try:
            message = await call
        except grpc.aio.AioRpcError as error:
            return Answer(sent, now(), error.code().name)
        ended = now()
        server_s, tokens = read_answer(prepared.method, message)
        return Answer(sent, ended, "OK", server_s=_all(server_s, await call.trailing_metadata()), tokens=tokens)

    async def _stream(self, method: Any, prepared: Prepared) -> Answer:
        now = asyncio.get_running_loop().time
        came: list[float] = []
        committed, message = None, b""
        sent = now()
        call = method(prepared.request, timeout=self._timeout_s, metadata=self._metadata)
        try:
            async for message in call:
                came.append(now())
                if committed is None and has_committed(prepared.method, message):
                    committed = came[-1]
        except grpc.aio.AioRpcError as error:
            return Answer(sent, now(), error.code().name)
        ended = now()
        server_s, tokens = read_answer(prepared.method, message)
        trailing = await call.trailing_metadata()
        return Answer(sent, ended, "OK", tuple(came), committed, _all(server_s, trailing), tokens)


def _all(told: tuple[tuple[str, float], ...], trailing: Iterable[Any] | None) -> tuple[tuple[str, float], ...]:
    """Return what the answer says of the server's time, and what its trailing metadata says beyond that."""
    known = {name for name, _ in told}
    further = [
        part for key, value in trailing or () if key == SERVER_TIMING for part in read_server_timing(_text(value))
    ]
    names = {"total": "server"}
    renamed = [(names.get(name, name), seconds) for name, seconds in further]
    return (*told, *((name, seconds) for name, seconds in renamed if name not in known))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
