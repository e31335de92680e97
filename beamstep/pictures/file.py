"""What a picture may be, asked before anything is drawn or any server is called; imports nothing that draws."""

import errno
import os
from collections.abc import Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

SUFFIXES: Final = (".png", ".svg", ".pdf")
"""What a file's name ends with says what is written into it."""
PACKAGES: Final = ("matplotlib", "scipy")


class Over(StrEnum):
    """What learning curves run over: updates of the weights, or minutes spent on them."""

    STEPS = "steps"
    MINUTES = "minutes"


class BadPicture(ValueError):  # noqa: N818 - named by what it is, STYLE.md section 4
    """What was given cannot become a picture; the message says what and what is allowed."""


class NoPictures(Exception):  # noqa: N818 - as above
    """A package that draws is not installed; the message names the extra."""


def is_picture(name: str) -> bool:
    """Tell whether a file of this name can become a picture."""
    return Path(name).suffix.lower() in SUFFIXES


def check_picture(file: Path, packages: Sequence[str] = PACKAGES, extra: str = "pictures") -> None:
    """Find out that a picture can be drawn into a file.

    Args:
        file: to be written.
        packages: what draws it.
        extra: what brings them.

    Raises:
        BadPicture: its name ends otherwise than with one of `SUFFIXES`.
        FileNotFoundError: there is no such folder.
        NoPictures: a package is missing.
    """
    if not is_picture(file.name):
        raise BadPicture(f"{file}; allowed: a name that ends with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not file.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    for package in packages:
        if find_spec(package) is None:
            install = f"pip install 'beamstep[{extra}]'"
            raise NoPictures(f"pictures need the package {package}, which is not installed: {install}")
