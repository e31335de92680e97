"""What is reckoned from measured times, with numbers to follow by hand."""

import pytest

from serving.pace import FORGETTING, RETRY_S, STALE_S, USUAL_RETRY_S, WEIGHT, Pace


def measured(encode_s=0.1, step_s=0.05):
    pace = Pace()
    pace.encoded(encode_s)
    pace.stepped(0.0, step_s, None)
    return pace


def test_before_anything_was_measured_no_time_is_needed():
    pace = Pace()
    assert pace.least_s(1.0, 10, 20, 5) == 0
    pace.encoded(1.0)
    assert pace.least_s(1.0, 10, 20, 5) == 0, "no step was measured yet"


def test_an_answer_needs_one_encoder_run_and_its_fewest_steps():
    assert measured().least_s(1.0, 4, 100, 0) == pytest.approx(0.1 + 4 * 0.05)


def test_the_quickest_work_counts():
    pace = measured()
    pace.encoded(0.08)
    pace.stepped(0.0, 0.03, None)
    assert pace.least_s(1.0, 2, 100, 0) == pytest.approx(0.08 + 2 * 0.03)


def test_an_old_record_is_forgotten_slowly():
    pace = measured(step_s=0.01)
    for _ in range(100):
        pace.stepped(0.0, 0.05, None)
    assert pace.least_s(1.0, 1, 100, 0) == pytest.approx(0.1 + 0.01 * FORGETTING**100)
    for _ in range(2000):
        pace.stepped(0.0, 0.05, None)
    assert pace.least_s(1.0, 1, 100, 0) == pytest.approx(0.1 + 0.05)


def test_what_was_measured_long_ago_says_nothing():
    """Were callers refused for it, nothing would be measured again, however quick the machine has become."""
    pace = measured()
    assert pace.least_s(STALE_S, 1, 100, 0) == pytest.approx(0.1 + 0.05)
    assert pace.least_s(STALE_S + 0.01, 1, 100, 0) == 0
    pace.stepped(STALE_S, 0.05, None)
    assert pace.least_s(STALE_S + 0.01, 1, 100, 0) == pytest.approx(0.1 + 0.05)


def test_longer_sources_need_more_steps_by_the_shortest_answers_of_late():
    pace = measured()
    pace.answered(1.0, 10, 20)
    pace.answered(2.0, 30, 20)
    assert pace.least_s(1.0, 1, 100, 40) == pytest.approx(0.1 + 20 * 0.05, rel=0.06)
    assert pace.least_s(1.0, 50, 100, 40) == pytest.approx(0.1 + 50 * 0.05), "but no fewer than the request itself says"
    assert pace.least_s(1.0, 1, 5, 40) == pytest.approx(0.1 + 5 * 0.05), "and no more"
    assert pace.least_s(1.0, 1, 100, 0) == pytest.approx(0.1 + 0.05), "a length that is not known says nothing"


def test_an_answer_of_unknown_source_length_says_nothing_of_others():
    pace = measured()
    pace.answered(1.0, 10, 0)
    assert pace.least_s(1.0, 1, 100, 40) == pytest.approx(0.1 + 0.05)


def test_means_run():
    pace = Pace()
    for seconds in (0.1, 0.2):
        pace.encoded(seconds)
        pace.stepped(0.0, 0.02, seconds)
    assert pace.encode_s == pace.turn_s == pytest.approx(0.1 + WEIGHT * 0.1)


def test_a_turn_after_a_rest_is_no_turn_time():
    pace = Pace()
    pace.stepped(0.0, 0.01, None)
    pace.stepped(0.0, 0.05, None)
    assert pace.turn_s == 0.01, "all that is known after the first turn is its step"
    pace.stepped(0.0, 0.01, 0.02)
    pace.stepped(0.0, 0.01, None)
    assert pace.turn_s == pytest.approx(0.01 + WEIGHT * 0.01)


def test_who_is_refused_may_come_again_when_half_of_the_queue_is_gone():
    pace = Pace()
    assert pace.retry_after_s(100) == USUAL_RETRY_S, "nothing is known yet"
    pace.answered(5.0, 10, 10)
    assert pace.retry_after_s(100) == USUAL_RETRY_S, "one answer is no rate"
    pace.answered(5.2, 10, 10)
    assert pace.retry_after_s(100) == pytest.approx(0.2 * 50)


def test_the_time_to_come_again_stays_within_reason():
    pace = Pace()
    pace.answered(0.0, 1, 1)
    pace.answered(100.0, 1, 1)
    assert pace.retry_after_s(100) == RETRY_S[1]
    assert pace.retry_after_s(0) == RETRY_S[0]
