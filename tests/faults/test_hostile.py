"""Clients that do not behave cost those who do no answer, and leave nothing behind."""

from benchmarks.faults.hostile import Sizes, hostile, huge_png


async def test_idle_half_open_and_unread_connections_oversized_messages_and_bombs(planned):
    outcome = await hostile(planned, Sizes(victim_s=0.5))
    assert not outcome.wrong, outcome
    assert len(outcome.figures) == 6


def test_the_huge_picture_is_a_small_file():
    assert len(huge_png()) < 10_000
