"""Hot swaps under load, with bad bundles arriving in between."""

from benchmarks.faults.swapping import DAMAGES, swapping


async def test_swaps_fail_no_call_and_bad_bundles_are_refused_with_a_reason():
    outcome = await swapping(times=2 * len(DAMAGES), clients=6)
    assert not outcome.wrong, outcome
    reasons = " ".join(outcome.figures)
    assert "truncated or altered" in reasons
    assert "format: 99; allowed" in reasons
    assert "manifest.json: not JSON" in reasons
