"""What all pictures have in common: colours, letters, and how one is written."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

INK: Final = "#222222"
FAINT: Final = "#8a8f98"
ANSWER: Final = "#1f6fb2"
RIGHT: Final = "#e07b00"
"""The right answer where the model's is wrong: blue and orange are told apart by nearly everybody."""
WRONG: Final = "#c62f3b"
RUNS: Final = (ANSWER, RIGHT, "#2f8f5b", "#8452a8", WRONG, "#6b4c3a", "#d065a8", "#5d6470")

STYLE: Final[Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#c9ccd1",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#e6e8eb",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 130,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.12,
    "svg.hashsalt": "beamstep",  # the same picture is the same file
}
DATES: Final = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def styled() -> AbstractContextManager[None]:
    """Return the context that pictures are made in; it ends with the letters and lines of before."""
    return rc_context(STYLE)


def write(figure: Figure, file: Path) -> None:
    """Write a figure as PNG (Agg), SVG or PDF, as the file's name ends; the same figure gives the same bytes."""
    suffix = file.suffix.lower()
    with styled():
        figure.savefig(file, format=suffix[1:], metadata=DATES[suffix])


def plain(text: str) -> str:
    """Return a text for matplotlib to draw as it is; a dollar sign would begin mathematics."""
    return text.replace("$", r"\$")
