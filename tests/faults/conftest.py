"""A server of planned models in a process of its own, which every test here leaves as it found it."""

from collections.abc import Iterator

import pytest

from benchmarks.faults.servers import WatchedProcess, watched
from benchmarks.faults.watched import Setup


@pytest.fixture(scope="session")
def planned() -> Iterator[WatchedProcess]:
    with watched(Setup("", kind="planned", step_s=0.002)) as server:
        yield server
