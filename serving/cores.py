"""How many cores this process has: those it may run on, and the share of their time that its container's limit gives it."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST_ENGINE_THREADS: Final = 2
"""More were never measured; `--workers` uses further cores."""
MOST_STEP_THREADS: Final = 2
"""A step is too small for more; docs/log.md."""


@dataclass(frozen=True)
class Cores:
    """What a process may use.

    Attributes:
        allowed: cores that it may run on; from 1.
        limit: cores' worth of time a period that its cgroups give it, such as 1.5; None without a limit.
    """

    allowed: int
    limit: float | None = None

    @property
    def whole(self) -> int:
        """Return how many threads can run all the time; at least 1."""
        return max(1, math.floor(min(self.allowed, self.limit or math.inf)))

    @property
    def throttled(self) -> bool:
        """Say whether the kernel stops the process once it has used up its share of a period."""
        return self.limit is not None and self.limit < self.allowed

    @property
    def engine_threads(self) -> int:
        """Return how many threads of the engine should run graphs beside each other."""
        return min(MOST_ENGINE_THREADS, self.whole)

    @property
    def step_threads(self) -> int:
        """Return how many threads a decoder step should have, where that many engine threads run one each."""
        return min(MOST_STEP_THREADS, max(1, self.whole // self.engine_threads))

    @property
    def spinning(self) -> bool:
        """Say whether idle threads should burn their core for a moment before they sleep.

        Where there is a limit they burn what the work of the same period needs, and the process stands still for the rest of it.
        """
        return not self.throttled

    def shared_by(self, workers: int) -> "Cores":
        """Return what each of so many processes has."""
        return Cores(max(1, self.allowed // workers), None if self.limit is None else self.limit / workers)

    def __str__(self) -> str:
        limit = "no CPU limit" if self.limit is None else f"a CPU limit of {self.limit:g}"
        return f"{self.allowed} core{'s' * (self.allowed != 1)}, {limit}"


def cores(root: Path = Path("/")) -> Cores:
    """Return what this process may use; `root` holds proc and sys."""
    return Cores(len(os.sched_getaffinity(0)), cpu_limit(root))


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Return the tightest CPU limit of this process's cgroups, in cores.

    Version 2 writes `cpu.max`: "150000 100000" or "max 100000". Version 1 writes `cpu.cfs_quota_us`, -1 for none, and
    `cpu.cfs_period_us`. Every group above counts too. In a container the path in /proc/self/cgroup may be the host's, whose end
    is not there; what the container sees as the top is its own group then.
    """
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        below = path.strip("/").split("/") if path.strip("/") else []
        groups = [top.joinpath(*below[:depth]) for depth in range(len(below) + 1)]
        limits += [_limit_of(group, version=1 if controllers else 2) for group in groups]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit_of(group: Path, version: int) -> float | None:
    """Return the limit of one cgroup; None where it has none or is not there."""
    if version == 2:
        words = _read(group / "cpu.max").split()
    else:
        words = [*_read(group / "cpu.cfs_quota_us").split(), *_read(group / "cpu.cfs_period_us").split()]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None
    quota, period = map(int, words)
    return quota / period if quota and period else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""
