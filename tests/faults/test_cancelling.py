"""Half of many connections cancel at random moments: nothing stays, and later answers are the same."""

from benchmarks.faults.cancelling import cancelling


async def test_cancelled_calls_leave_nothing_behind_and_change_no_answer(planned):
    outcome = await cancelling(planned, connections=50, seconds=4)
    assert not outcome.wrong, outcome
