"""A process that is asked one thing after the other, in this environment or another; its end is `apart.conversation`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from benchmarks.peers.table import NotMeasuredError

ROOT: Final = Path(__file__).parents[2]
OWN: Final = Path(sys.executable)
"""Python with this project's packages."""


class OtherError(NotMeasuredError):
    """The process ended, or what it was asked failed; the message says with what."""


class Other:
    """The process, within `other`."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process = process
        self._name = name

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._process.pid

    def ask(self, question: str, **arguments: Any) -> Any:
        """Return the answer to a question. OtherError where there is none."""
        self.begin(question, **arguments)
        return self.end()

    def begin(self, question: str, **arguments: Any) -> None:
        """Ask without waiting; `end` has the answer. OtherError where the process is gone."""
        try:
            _pipe(self._process.stdin).write(json.dumps({"ask": question, **arguments}) + "\n")
            _pipe(self._process.stdin).flush()
        except BrokenPipeError:
            raise OtherError(f"{self._name}: ended; its last words stand above") from None

    def end(self) -> Any:
        """Return the answer to what was asked last. OtherError where there is none."""
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise OtherError(f"{self._name}: ended; its last words stand above")
        answer = json.loads(line)
        if "error" in answer:
            raise OtherError(f"{self._name}: {answer['error']}")
        return answer["answer"]


@contextmanager
def other(module: str, arguments: Sequence[str], python: Path = OWN) -> Iterator[Other]:
    """Run `python -m MODULE ARGUMENTS` within a block, this project's root on its path; it ends when its stdin does."""
    command = [str(python), "-m", module, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=foreign_environment()
    ) as process:
        try:
            yield Other(process, module)
        finally:
            _pipe(process.stdin).close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def foreign_environment() -> dict[str, str]:
    """Return the environment variables of a process whose Python may be another one: this project's root is on its path."""
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None, "made with pipes"
    return pipe
