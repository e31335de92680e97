"""Mixed traffic of all services on the shipped bundles: every call is answered; memory and times are for the long form."""

from pathlib import Path

from benchmarks.faults.calls import SHIPPED
from benchmarks.faults.mutated import mutated
from benchmarks.faults.servers import watched
from benchmarks.faults.soak import soak
from benchmarks.faults.watched import Setup

MODELS = Path(__file__).parents[2] / "models"


async def test_shipped_bundles_answer_mixed_traffic_and_bear_mutated_requests():
    with watched(Setup(str(MODELS), prefer=["translation-en-de"])) as server:
        outcome = await soak(server, seconds=8, clients=2)
        assert not outcome.wrong, outcome
        outcome = await mutated(server, 150, seed=1, subject=SHIPPED)
        assert not outcome.wrong, outcome
