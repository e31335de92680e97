"""Learning rates worked out by hand."""

import math

import pytest

from training.schedule import ScheduleConfig


def test_every_schedule_rises_linearly_first() -> None:
    schedule = ScheduleConfig(kind="constant", peak=0.1, warmup_steps=4)
    rates = [schedule.learning_rate(step, 0.0) for step in range(6)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_cosine_falls_to_its_final_share_at_the_end_of_the_run_and_stays() -> None:
    schedule = ScheduleConfig(kind="cosine", peak=1.0, warmup_steps=1, final=0.1)
    rates = [schedule.learning_rate(100, progress) for progress in (0.0, 0.5, 1.0, 1.5)]
    assert rates == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_inverse_sqrt_halves_when_the_steps_are_four_times_as_many() -> None:
    schedule = ScheduleConfig(kind="inverse_sqrt", peak=1.0, warmup_steps=100)
    assert schedule.learning_rate(99, 0.0) == pytest.approx(1.0)
    assert schedule.learning_rate(399, 0.9) == pytest.approx(0.5)
    assert schedule.learning_rate(0, 0.0) == pytest.approx(1 / 100)
    assert math.isfinite(schedule.learning_rate(10**9, 1.0))
