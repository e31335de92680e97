"""Where commands write for people."""

import os
from typing import Final

from rich.console import Console

FILE_COLUMNS: Final = 240
"""Room for our tables: a log has no right edge."""


def output_console(*, highlight: bool = True) -> Console:
    """Return stdout: as wide as the terminal or `COLUMNS`, else 240 columns, where rich would take 80 and cut figures off."""
    console = Console(highlight=highlight)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_COLUMNS
    return console
