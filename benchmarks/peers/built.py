"""What the other sides need of a bundle, made once in a process of its own and kept under build/peers/."""

import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.peers.table import NotMeasuredError
from serving.bundle import load_bundle

BUILT: Final = Path("build") / "peers"
MAKERS: Final = ("training", "export")
"""The packages whose classes are in what is made, or make it."""


def torch_weights(bundle: Path) -> Path:
    """Return the file of a bundle's model in PyTorch. NotMeasuredError where it cannot be made."""
    return _made("benchmarks.peers.weights", bundle, "model.pt", "model.pt")


def float_graphs(bundle: Path) -> Path:
    """Return the folder of a translation bundle's graphs as people export them. NotMeasuredError where they cannot be made."""
    return _made("benchmarks.peers.float_graphs", bundle, "graphs", "graphs/step.onnx")


def _made(module: str, bundle: Path, output: str, proof: str) -> Path:
    """Run a module on a bundle and a path, unless what today's code makes of this very bundle is there."""
    folder = BUILT / f"{bundle.parent.name}-{load_bundle(bundle).content[:12]}-{_code()[:8]}"
    if not (folder / proof).exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", module, str(bundle), str(folder / output)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise NotMeasuredError(f"{' '.join(command[1:])} ended with status {done.returncode}: {said}")
    return folder / output


@cache
def _code() -> str:
    """Return a hash of the code that is behind what is made: a model that was saved by other classes cannot be loaded."""
    sources = sorted(file for package in MAKERS for file in Path(package).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
