"""All that watches one server, put together: metrics, traces, logs."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from serving.calls.interceptor import Observer
from serving.engine import Engine
from serving.observation.config import ObservationConfig
from serving.observation.log import CallLog
from serving.observation.metrics import Metrics
from serving.observation.tracing import Tracing, otlp_tracing

REFRESH_S: Final = 1.0
"""How often a process among several writes its queues down for whichever of them is asked."""


class Observation:
    """Watches a server from its start to its end.

    Attributes:
        metrics: for the HTTP port.
        observers: of calls; traces come before logs, which name them.
    """

    def __init__(self, config: ObservationConfig) -> None:
        """Make everything that the configuration asks for.

        Raises:
            BadConfiguration: traces are wanted, and the extra `tracing` is not installed.
        """
        self.metrics = Metrics()
        self._tracing: Tracing | None = None
        self._refreshing: asyncio.Task[None] | None = None
        if config.otlp_endpoint:
            self._tracing = otlp_tracing(config.otlp_endpoint, config.trace_ratio)
        traces = () if self._tracing is None else (self._tracing,)
        self.observers: Sequence[Observer] = (
            self.metrics,
            *traces,
            *([CallLog(payloads=config.log_payloads)] if config.log_calls else []),
        )

    def start(self, engine: Engine) -> None:
        """Watch an engine that has just begun, on the running event loop."""
        self.metrics.watch(engine.loads)
        if self.metrics.multiprocess:
            self._refreshing = asyncio.ensure_future(self._refresh())

    async def stop(self) -> None:
        """Send what is left; nothing is watched any more."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing
            self._refreshing = None
            self.metrics.refresh()  # the last steps, for the processes that go on
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.stop)
            self._tracing = None

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            self.metrics.refresh()
