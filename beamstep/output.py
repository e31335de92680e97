"""Where commands write for people."""

import os
from typing import Final

from rich.console import Console

FILE_COLUMNS: Final = 240
"""As wide as any table of ours comes: a log has no right edge."""


def output_console() -> Console:
    """Return stdout: as wide as the terminal or `COLUMNS`, else 240 columns, where rich would take 80 and cut figures off."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_COLUMNS
    return console
