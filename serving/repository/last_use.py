"""When the last call that looked a version up is over: when nothing refers to its task any more."""

import asyncio
import weakref
from contextlib import suppress

from serving.tasks.base import Task


def last_use(task: Task) -> asyncio.Event:
    """Return what is set, on the running event loop, when nothing refers to a task any more."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def note() -> None:  # on whatever thread let go last
        with suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(over.set)

    weakref.finalize(task, note).atexit = False
    return over
