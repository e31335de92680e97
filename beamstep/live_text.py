"""A text that is printed while it is still being decided."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text


class Part(Protocol):
    """A message of a stream: what has become certain, and how it goes on at the moment."""

    @property
    def committed_text(self) -> str:
        """What is certain since the part before."""

    @property
    def tentative_text(self) -> str:
        """What follows all that is certain, until the next part."""


AnyPart = TypeVar("AnyPart", bound=Part)


def print_parts(console: Console, parts: Iterable[AnyPart]) -> AnyPart | None:
    """Print a text as its parts come, and return the last of them.

    On a terminal, what is certain stays and what is tentative stands dim behind it, rewritten with every part. Anywhere else
    what is certain is written as it comes, and nothing else.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        return _rewrite(console, parts)
    return _append(console, parts)


def _append(console: Console, parts: Iterable[AnyPart]) -> AnyPart | None:
    last = None
    for part in parts:
        print(part.committed_text, end="", file=console.file, flush=True)
        last = part
    print(file=console.file, flush=True)
    return last


def _rewrite(console: Console, parts: Iterable[AnyPart]) -> AnyPart | None:
    """Redraw the text with every part, then print it as any other: one line, for the terminal to wrap."""
    committed, last = "", None
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
    try:
        with live:
            for part in parts:
                committed += part.committed_text
                live.update(_last_lines(console, committed, part.tentative_text), refresh=True)
                last = part
    finally:
        if committed:  # a stream that fails leaves what was certain
            console.print(Text(committed), soft_wrap=True)
    return last


def _last_lines(console: Console, committed: str, tentative: str) -> Text:
    """Return as much of the end as the terminal can hold, since what has scrolled away cannot be rewritten."""
    lines = Text.assemble(committed, (tentative, "dim")).wrap(console, console.width)
    return Text("\n").join(lines[-max(console.height - 1, 1) :])
