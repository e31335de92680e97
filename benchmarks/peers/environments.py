"""Python environments for other projects' packages, made when they are first needed: `environments/NAME.txt` has what is in one."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from benchmarks.peers.table import NotMeasuredError

REQUIREMENTS: Final = Path(__file__).with_name("environments")
MADE: Final = Path(__file__).parents[2] / "build" / "peers"
STAMP: Final = "made-of"


def environment(name: str, made: Path = MADE) -> Path:
    """Return the Python of an environment; minutes where it has to be made first, of what `environments/NAME.txt` pins.

    It is the one that runs this, so that all sides of a table have the same build of the interpreter.

    Raises:
        NotMeasuredError: its packages cannot be installed.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    folder = made / name
    python, stamp = folder / "bin" / "python", folder / STAMP
    wanted = hashlib.sha256(requirements.read_bytes() + f"{sys.base_prefix} {sys.version}".encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return python
    print(f"{folder}: installing {requirements.name}, once", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        last = installed.stderr.strip().rpartition("\n")[2]
        raise NotMeasuredError(f"{requirements.name}: pip ended with status {installed.returncode}: {last}")
    stamp.write_text(wanted, encoding="ascii")
    return python
