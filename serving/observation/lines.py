"""Where log lines go: those of one round of the event loop are written together, once it is over."""

import asyncio
import logging
from contextlib import suppress
from typing import TextIO


class GatheredLines(logging.StreamHandler[TextIO]):
    """A stream handler that does not write on the event loop's way.

    A write lets go of the interpreter, which the engine's threads then hold for a while; a line for every call would cost every
    answer of the round that wait, and a system call each. Where no event loop runs, a line is written at once.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's line until the round is over; the handler's lock is held."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if len(self._lines) == 1:
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what there is; logging's own shutdown asks for it too. A stream that nobody reads any more is no error."""
        self.acquire()
        try:
            text, self._lines = "".join(self._lines), []
            with suppress(OSError, ValueError):
                self.stream.write(text)
                super().flush()
        finally:
            self.release()
