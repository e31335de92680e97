"""Points from text: CSV with or without a header, or two numbers a line."""

import re
from collections.abc import Sequence

Point = tuple[float, float]
SEPARATOR = re.compile(r"\s*[,;\t]\s*|\s+")


class BadPoints(ValueError):  # noqa: N818 - named by what it is, STYLE.md section 4
    """Text that holds no points; the message says which line and what stands there."""


def parse_points(text: str) -> list[Point]:
    """Read one point a line: two numbers parted by a comma, a semicolon or white space.

    A first line that is not numbers is a header; if it names columns `x` and `y`, these are taken and others ignored.
    Empty lines and lines that begin with `#` are skipped.

    Raises:
        BadPoints: a line holds no point.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    columns: tuple[int, int] | None = None
    if lines and not any(_is_number(cell) for cell in _cells(lines[0][1])):
        columns = _named_columns(_cells(lines[0][1]))
        lines = lines[1:]
    return [_parse_line(number, line, columns) for number, line in lines]


def _parse_line(number: int, line: str, columns: tuple[int, int] | None) -> Point:
    cells = _cells(line)
    if columns is None and len(cells) != 2:
        raise BadPoints(f"line {number}: {line[:60]!r}; allowed: two numbers, or columns named x and y by a header")
    x_column, y_column = columns or (0, 1)
    try:
        return float(cells[x_column]), float(cells[y_column])
    except (IndexError, ValueError):
        raise BadPoints(f"line {number}: {line[:60]!r}; allowed: two numbers") from None


def _cells(line: str) -> list[str]:
    return [cell.strip("\"'") for cell in SEPARATOR.split(line)]


def _named_columns(header: Sequence[str]) -> tuple[int, int] | None:
    names = [name.lower() for name in header]
    return (names.index("x"), names.index("y")) if {"x", "y"} <= set(names) else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
