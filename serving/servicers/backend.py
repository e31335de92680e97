"""What all servicers stand on: the registry, and the engine once the models are loaded."""

import asyncio
import time
from typing import Any

import grpc

from serving.decoding.options import DecodingOptions
from serving.engine import Decoded, Engine
from serving.errors import Draining
from serving.registry import Registry
from serving.tasks.base import Source, Task

Context = grpc.aio.ServicerContext[Any, Any]


class Backend:
    """Hands requests to the engine.

    Attributes:
        registry: the bundles that are or will be loaded.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Let requests through to a running engine."""
        self._engine = engine

    async def decode(self, task: Task, source: Source, options: DecodingOptions, context: Context) -> Decoded:
        """Search for the answer to one source.

        The call's deadline goes with it. When the call is cancelled, so is this coroutine, and with it the request: its
        rows are free at the engine's next turn.

        Raises:
            Draining: the models are still loading, or the server is stopping.
            Overloaded, Expired, ModelFault: see `Engine.submit`.
        """
        if self._engine is None:
            raise Draining("the server is loading its models; retry in a moment")
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        ticket = self._engine.submit(task.bundle.key, source.inputs, options, source.constraint, deadline)
        return await asyncio.wrap_future(ticket.future)
