"""Tables in documents, written by the commands that they are made by, so that nobody copies a figure by hand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

END: Final = "<!-- end -->"


class NoPlaceError(ValueError):
    """The document has no place for what a command prints."""


def write_into(document: Path, command: str, lines: Iterable[str]) -> None:
    """Put `lines` between `<!-- COMMAND -->` and the next `<!-- end -->` of a document, in place of what is there.

    Raises:
        NoPlaceError: the document has no such two lines.
    """
    before, after = _around(document, command)
    document.write_text(before + "".join(f"{line}\n" for line in lines) + after, encoding="utf-8")


def written(document: Path, command: str) -> list[str]:
    """Return the lines that stand in a command's place. NoPlaceError as above."""
    before, after = _around(document, command)
    text = document.read_text(encoding="utf-8")
    return text[len(before) : len(text) - len(after)].splitlines()


def _around(document: Path, command: str) -> tuple[str, str]:
    """Return a document's text up to a command's place and from its end on."""
    begin = f"<!-- {command} -->\n"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise NoPlaceError(
            f"{document}: has no place for what is made by it; allowed: the lines {begin.strip()} and {END}"
        )
    return before + begin, END + after
