"""An event loop whose time passes only while it waits, and then at once: an hour of sleep takes no time."""

import asyncio
import selectors


class _Jump(selectors.SelectSelector):
    """Waits for nothing; the time that it should have waited has then passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout=None):
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; `pass_time` is a moment in which it stands still, as when something blocks it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def pass_time(self, seconds: float) -> None:
        self._jump.now += seconds


def run_virtually(work):
    """Run a coroutine on such a loop and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
