"""A real server on a thread of its own, for blocking clients to call."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from serving.config import ServerConfig
from serving.server import OpenModel, Server, running_server


class ServerThread:
    """Serves within a `with` block.

    Attributes:
        server: the server, to be touched through `call` alone.
        address: where it listens.
    """

    def __init__(self, config: ServerConfig, open_model: OpenModel) -> None:
        self._config = config
        self._open_model = open_model
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.server: Server
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        assert self.address, "the server did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def call(self, work) -> None:
        """Run a coroutine on the server's event loop and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        try:
            async with running_server(self._config, self._open_model) as self.server:
                self.address = f"127.0.0.1:{self.server.port}"
                self._ready.set()
                await self._done.wait()
        finally:
            self._ready.set()
