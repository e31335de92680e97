"""The HTTP port from its start to its end, on the event loop of the gRPC server and over a socket of its own to it."""

import asyncio
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from aiohttp import web

from serving.errors import BadConfiguration
from serving.http.application import Handler, Metrics, make_application
from serving.http.calls import Caller
from serving.http.readiness import Probes

logger = logging.getLogger(__name__)
# What is no HTTP at all gets a 400 and is the sender's fault; aiohttp would log each with a traceback.
logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)

HEADERS_S: Final = 20.0
"""How long the headers of a connection's first request may take."""
IDLE_S: Final = 75.0
"""How long a connection may stand idle between requests."""
HEADER_BYTES: Final = 8190
"""Longest line of a request, and longest header."""
ANSWER_S: Final = 5.0
"""How long answers may take to be sent once all calls have ended."""


class HttpPort:
    """Answers HTTP by calling the gRPC server over a Unix socket in a folder that only this user may open.

    Attributes:
        address: where the gRPC server has to listen for it, without TLS.
        port: where it listens, once it is started.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        services: Sequence[str],
        message_bytes: int,
        probes: Probes,
        metrics: Metrics | None = None,
        calls: bool = True,
        shares_port: bool = False,
    ) -> None:
        """Make the folder of the socket; nothing listens yet.

        Args:
            host: the address to listen on.
            port: 0 takes any free one.
            services: those that are offered.
            message_bytes: the largest body.
            probes: see `make_application`.
            metrics: see `make_application`.
            calls: whether calls are taken, beside probes and metrics.
            shares_port: whether other processes may listen on the same port.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="beamstep-")  # mkdtemp makes it 0700
        self.address = f"unix:{Path(self._folder.name) / 'grpc.sock'}"
        self.port = port
        self._host = host
        self._shares_port = shares_port
        self._calls = calls
        self._make = (services, message_bytes, probes, metrics)
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._silent: set[web.RequestHandler] = set()
        self._stopping = asyncio.Lock()

    async def start(self) -> None:
        """Listen.

        Raises:
            BadConfiguration: the port cannot be had.
        """
        services, message_bytes, probes, metrics = self._make
        self._channel = grpc.aio.insecure_channel(
            self.address,
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        caller = Caller(self._channel, message_bytes) if self._calls else None
        application = make_application(caller, probes, metrics, services, message_bytes)
        application.middlewares.insert(0, self._hears())
        runner = web.AppRunner(
            application,
            access_log=None,  # the calls have a log of their own
            handler_cancellation=True,  # a client that goes away takes its call along
            keepalive_timeout=IDLE_S,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            shutdown_timeout=ANSWER_S,
        )
        await runner.setup()
        self._runner = runner
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._connection, self._host, self.port, reuse_port=self._shares_port or None
            )
        except OSError as error:
            await self.stop()
            raise BadConfiguration(f"http_port: cannot listen on {self._host}:{self.port}: {error}") from None
        self.port = self._listener.sockets[0].getsockname()[1]
        logger.info("HTTP on %s:%d", self._host, self.port)

    async def stop(self) -> None:
        """Listen no longer, send the answers that there are, and end; to be called when the gRPC server has stopped."""
        async with self._stopping:
            runner, self._runner = self._runner, None
            if runner is not None:
                if self._listener is not None:
                    self._listener.close()
                await runner.cleanup()
                await self._channel.close()
            self._folder.cleanup()

    def _connection(self) -> asyncio.Protocol:
        """Take a connection, and close it if no request comes: aiohttp itself would wait for ever."""
        assert self._runner is not None
        assert self._runner.server is not None
        protocol = self._runner.server()
        self._silent.add(protocol)
        asyncio.get_running_loop().call_later(HEADERS_S, self._close_silent, protocol)
        return protocol

    def _close_silent(self, protocol: web.RequestHandler) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            protocol.force_close()
            if protocol.transport is not None:
                protocol.transport.close()

    def _hears(self) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._silent.discard(request.protocol)
            return await handler(request)

        return middleware
