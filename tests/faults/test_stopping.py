"""SIGTERM and SIGKILL while calls run: whole answers or UNAVAILABLE, and with a second server no call is lost."""

from benchmarks.faults.killing import killing
from benchmarks.faults.stopping import stopping


async def test_a_stopping_server_answers_whole_or_says_unavailable():
    outcome = await stopping(times=2, clients=16)
    assert not outcome.wrong, outcome


async def test_a_killed_server_costs_no_retried_call_where_there_is_another():
    outcome = await killing(times=1, clients=8, loaded_s=0.5)
    assert not outcome.wrong, outcome
