"""A server as a process of its own: from its start until SIGTERM has drained it."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final

from serving.calls.wakeups import gather_wakeups
from serving.config import ServerConfig
from serving.server import OpenModel, Server
from serving.session import OnnxModel

logger = logging.getLogger(__name__)

SWITCH_S: Final = 0.0002
"""After so long a thread that waits for the interpreter gets it."""
KILL_S: Final = 30.0
"""How long Kubernetes waits for a pod to end by itself, unless its terminationGracePeriodSeconds says otherwise."""


async def serve(config: ServerConfig, open_model: OpenModel = OnnxModel) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once.

    Raises:
        BadBundle, BadConfiguration: see `Server`.
    """
    if config.grace_s > KILL_S:
        logger.warning("grace: %g s; Kubernetes kills after %g s unless it is told otherwise", config.grace_s, KILL_S)
    gather_wakeups(asyncio.get_running_loop())
    server = Server(config, open_model)
    signals: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, None)
    if not config.shares_port:
        await server.start()
    try:
        if await _finishes_first(_begin(server, config), signals):
            _settle()
            await signals.get()
        logger.info("stopping: running requests have %g s to finish", config.grace_s)
        await _finishes_first(server.stop(config.grace_s), signals)
    finally:
        await server.stop(0)
    logger.info("stopped")


async def _begin(server: Server, config: ServerConfig) -> None:
    """Load the models of a started server, or start it with its models loaded where others serve meanwhile."""
    await server.load()
    if config.shares_port:
        await server.start()


def _settle() -> None:
    """Tune this process for serving, once everything is loaded.

    The engine's thread and the event loop share one interpreter: with the usual 5 ms, a graph run that has ended could wait that
    long for the loop to let go. And what was loaded stays: the garbage collector need not look at it again and again.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()


async def _finishes_first(work: Coroutine[Any, Any, None], signals: asyncio.Queue[None]) -> bool:
    """Say whether `work` finished before the next signal came, and raise what it raised."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(signals.get())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        return False
    waiting.cancel()
    await working
    return True
