"""The scheduler with a manual clock: who waits, who runs, who leaves."""

import pytest

from serving.errors import InvalidRequest, Overloaded
from serving.scheduler import NOBODY, Claim, Leavers, Limits, Scheduler


def claim(rows=1, deadline=None):
    return Claim(rows, deadline)


def scheduler(**limits):
    return Scheduler(Limits(**limits))


def test_first_come_first_served_within_the_rows():
    plan = scheduler(batch_rows=8)
    for request in range(4):
        plan.submit(request, claim(rows=3))
    assert plan.admit() == [0, 1]
    assert plan.rows == 6
    assert plan.admit() == []
    plan.finish(0)
    assert plan.admit() == [2]


def test_a_wide_request_at_the_head_is_not_overtaken():
    plan = scheduler(batch_rows=8)
    for request, rows in enumerate((5, 8, 1)):
        plan.submit(request, claim(rows))
    assert plan.admit() == [0]
    assert plan.admit() == [], "request 2 would fit beside 0, but 1 came first"
    plan.finish(0)
    assert plan.admit() == [1]
    plan.finish(1)
    assert plan.admit() == [2]


def test_no_more_sources_than_the_batch_and_the_encoder_take():
    plan = scheduler(batch_sources=3, encode_sources=2)
    for request in range(5):
        plan.submit(request, claim())
    assert plan.admit() == [0, 1]
    assert plan.admit() == [2]
    assert plan.admit() == []


def test_no_more_positions_than_may_be_encoded_between_two_steps_but_one_source_at_least():
    plan = scheduler(encode_positions=100)
    for request, positions in enumerate((60, 40, 1, 150, 7)):
        plan.submit(request, Claim(1, None, positions=positions))
    assert plan.admit() == [0, 1]
    assert plan.admit() == [2]
    assert plan.admit() == [3], "longer than the limit: alone"
    assert plan.admit() == [4]


def test_those_who_want_their_best_are_due_before_their_deadline_once_they_run():
    plan = scheduler(batch_rows=2)
    plan.submit(0, Claim(1, 10.0, return_best=True))
    plan.submit(1, Claim(1, 8.0))
    plan.submit(2, Claim(1, 9.0, return_best=True))
    assert plan.admit() == [0, 1]
    assert plan.due(7.9, lead=1.0) == []
    assert plan.due(8.0, lead=1.0) == [], "2 waits, and 1 does not want it"
    assert plan.due(9.0, lead=1.0) == [0]
    plan.finish(0)
    assert plan.admit() == [2]
    assert plan.due(8.0, lead=1.0) == [2]


def test_those_who_are_due_together_are_due_earlier_by_what_it_takes_to_answer_the_others():
    plan = Scheduler(Limits())
    for request, deadline in enumerate((10.2, 10.0, 10.1, 20.0)):
        plan.submit(request, Claim(1, deadline, return_best=True))
    plan.admit()
    assert plan.due(8.4, lead=1.0, each=0.2) == []
    assert plan.due(8.85, lead=1.0, each=0.2) == [1, 2, 0], "the third would be late after two others"
    for request in (0, 1, 2):
        plan.finish(request)
    assert plan.due(18.9, lead=1.0, each=0.2) == []
    assert plan.due(19.0, lead=1.0, each=0.2) == [3]


def test_a_full_queue_refuses_and_a_withdrawn_request_makes_room():
    plan = scheduler(waiting_requests=2)
    plan.submit(0, claim())
    plan.submit(1, claim())
    with pytest.raises(Overloaded, match="2 requests are waiting; retry later"):
        plan.submit(2, claim())
    plan.withdraw(0)
    assert plan.sweep(0.0) == Leavers(withdrawn=(0,))
    plan.submit(2, claim())
    assert plan.admit() == [1, 2]


def test_a_beam_wider_than_a_whole_batch_is_refused_with_what_is_allowed():
    with pytest.raises(InvalidRequest, match="beam_size: 9; allowed: 1 to 8"):
        scheduler(batch_rows=8).submit(0, claim(rows=9))


def test_the_expired_leave_at_their_deadline_waiting_or_running():
    plan = scheduler(batch_rows=1)
    plan.submit(0, claim(deadline=10.0))
    plan.submit(1, claim(deadline=5.0))
    plan.submit(2, claim())
    assert plan.admit() == [0]
    assert plan.sweep(4.9) == NOBODY
    assert plan.sweep(5.0) == Leavers(expired=(1,))
    assert plan.sweep(9.9) == NOBODY
    assert plan.sweep(10.0) == Leavers(expired=(0,))
    assert plan.rows == 0
    assert plan.admit() == [2]
    assert plan.sweep(1e9) == NOBODY


def test_who_is_withdrawn_twice_or_after_the_end_leaves_once():
    plan = scheduler()
    plan.submit(0, claim(deadline=1.0))
    plan.submit(1, claim())
    plan.admit()
    plan.withdraw(0)
    plan.withdraw(0)
    plan.finish(1)
    plan.withdraw(1)
    assert plan.sweep(2.0) == Leavers(withdrawn=(0,))
    assert not plan.busy
