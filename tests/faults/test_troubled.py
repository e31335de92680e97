"""A model that raises in the middle of a batch, or says NaN, over a socket."""

from collections.abc import Iterator

import pytest

from benchmarks.faults.servers import WatchedProcess, watched
from benchmarks.faults.troubled import troubled
from benchmarks.faults.watched import Setup
from serving.servicers.status import MODEL_FAULT_MESSAGE


@pytest.fixture
def server() -> Iterator[WatchedProcess]:
    with watched(Setup("", kind="troubled", step_s=0.02)) as server:
        yield server


async def test_a_failing_model_fails_its_batch_alone_with_a_reason(server):
    outcome = await troubled(server, times=2)
    assert not outcome.wrong, outcome
    assert f"what those who fail are told: {MODEL_FAULT_MESSAGE}" in outcome.figures
    assert "secret" in server.log(), "the operator reads what the caller must not"
