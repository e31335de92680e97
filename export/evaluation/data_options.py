"""Which files an evaluation reads, and how points are asked for: each task has its own, and the wrong ones are refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Final

from serving.errors import BadConfiguration
from serving.manifest import TaskName

NEEDED: Final[Mapping[TaskName, tuple[str, ...]]] = {
    "translation": ("source", "reference"),
    "captioning": ("captions", "images"),
    "convex_hull": ("instances",),
    "delaunay": ("instances",),
    "tour": ("instances",),
}
POINTING: Final = ("symmetries", "repair")
OPTIONAL: Final[Mapping[TaskName, tuple[str, ...]]] = {
    "translation": ("target_language",),
    "captioning": ("split",),
    "convex_hull": POINTING,
    "delaunay": POINTING,
    "tour": POINTING,
}


class RepairChoice(StrEnum):
    """The values of --repair."""

    NONE = "none"
    FIX = "fix"


@dataclass(frozen=True)
class DataOptions:
    """The data as the command line names it; None where it does not. See `NEEDED` for which belong together."""

    source: Path | None = None
    reference: Path | None = None
    target_language: str | None = None
    captions: Path | None = None
    images: Path | None = None
    split: str | None = None
    instances: Path | None = None
    symmetries: int | None = None
    repair: RepairChoice | None = None

    def check(self, task: TaskName) -> None:
        """Check that exactly the options of a task are given.

        Raises:
            BadConfiguration: one is missing, or one is for another task.
        """
        given = {field.name for field in fields(self) if getattr(self, field.name) is not None}
        needed, optional = NEEDED[task], OPTIONAL.get(task, ())
        faults = [f"{_flag(name)} is missing" for name in needed if name not in given]
        faults += [f"{_flag(name)} is for another task" for name in sorted(given - {*needed, *optional})]
        if faults:
            takes = " and ".join(map(_flag, needed)) + "".join(f" [{_flag(name)}]" for name in optional)
            raise BadConfiguration(f"{', '.join(faults)}; a {task} bundle is evaluated with {takes}")


def file_label(path: Path) -> str:
    """Name a data file in short, by its folder and its name without endings: `multi30k val` for .../multi30k/val.en.gz."""
    return f"{path.resolve().parent.name} {path.name.removesuffix('.gz').partition('.')[0]}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
