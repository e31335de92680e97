"""Where figures were taken: a figure without it says nothing."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PACKAGES: Final = ("numpy", "onnxruntime", "grpcio")


def describe() -> dict[str, str]:
    """Return the machine, what ran on it, and how busy it was."""
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "versions": ", ".join(
            [
                f"python {platform.python_version()} in {sys.base_prefix}",
                *(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
            ]
        ),
        "code": _code(),
        "load before": f"{os.getloadavg()[0]:.2f} over the last minute",
    }


class Onlookers:
    """Whatever else runs on this machine; Linux only, elsewhere it never takes anything."""

    def __init__(self, pids: Sequence[int]) -> None:
        """Begin to look at what all processes but these, and those that these began and saw the end of, take."""
        self._pids = pids
        self._began = time.monotonic()
        self._before = self._processor_s()

    def share(self) -> float:
        """Return the part of all cores that others, and other machines on the same host, took since; from 0 to 1."""
        cores = len(os.sched_getaffinity(0))
        return max(0.0, self._processor_s() - self._before) / ((time.monotonic() - self._began) * cores)

    def _processor_s(self) -> float:
        try:
            user, nice, system, _, _, irq, softirq, steal, *_ = _ticks(Path("/proc/stat"), 1)
            own = sum(sum(_ticks(Path(f"/proc/{pid}/stat"), 13)[:4]) for pid in self._pids)
        except OSError:
            return 0.0
        return (user + nice + system + irq + softirq + steal - own) / os.sysconf("SC_CLK_TCK")


def _ticks(path: Path, first: int) -> list[int]:
    """Return the numbers on the first line of a file from a place on; the names there have no spaces."""
    return [int(field) for field in path.read_text(encoding="ascii").splitlines()[0].split()[first:]]


def _processor() -> str:
    """Return the processor's name; Linux says it in a file, others not at all."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _code() -> str:
    """Return the commit, and whether files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, check=False).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + (" with changes" if changed else "")
