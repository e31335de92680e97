"""Where figures were taken: a figure without it says nothing. All of it is about the machine that sends."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("beamstep", "grpcio", "protobuf", "numpy", "hdrhistogram", "onnxruntime")


def describe(root: Path = Path("/")) -> dict[str, Any]:
    """Return the machine, what limits this process, and versions; None where it cannot be known.

    Args:
        root: holds proc and sys.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(root),
        "cores": _cores(),
        "cpu_limit": _cpu_limit(root),
        "memory_limit_bytes": _memory_limit(root),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "load_before": _load(),
    }


def _processor(root: Path) -> str:
    """Return the processor's name; Linux says it in a file, others less exactly."""
    lines = (_read(root / "proc/cpuinfo") or "").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _cores() -> int | None:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_limit(root: Path) -> float | None:
    """Return how many cores' worth of time the container has; None without a limit, or outside of one."""
    quota, _, period = (_read(root / "sys/fs/cgroup/cpu.max") or "").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _memory_limit(root: Path) -> int | None:
    text = (_read(root / "sys/fs/cgroup/memory.max") or "").strip()
    return int(text) if text.isdigit() else None


def _load() -> float | None:
    """Return how many processes ran or waited over the last minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None
