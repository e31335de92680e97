"""The scheduler with a manual clock: who waits, who runs, who leaves."""

import pytest

from serving.claim import Claim, Priority
from serving.errors import InvalidRequest, Overloaded
from serving.scheduler import NOBODY, Leavers, Limits, Scheduler


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


# ---- whose turn it is


def of(client, rows=1, priority=Priority.NORMAL):
    return Claim(rows, None, client=client, priority=priority)


def served(plan):
    """Serve everybody, one at a time."""
    order = []
    while plan.waiting:
        [request] = plan.admit()
        order.append(request)
        plan.finish(request)
    return order


def one_at_a_time(**limits):
    return scheduler(batch_sources=1, **limits)


def test_clients_take_turns_and_each_keeps_its_order():
    plan = one_at_a_time()
    for request, client in enumerate("aaaabbc"):
        plan.submit(request, of(client))
    assert served(plan) == [0, 4, 6, 1, 5, 2, 3]


def test_a_wide_beam_costs_its_client_as_many_turns():
    plan = one_at_a_time()
    for request, (client, rows) in enumerate([("a", 3), ("a", 3), ("b", 1), ("b", 1), ("b", 1), ("b", 1)]):
        plan.submit(request, of(client, rows))
    assert served(plan) == [2, 3, 0, 4, 5, 1]


def test_a_withdrawn_request_costs_its_client_nothing():
    plan = one_at_a_time()
    for request, (client, rows) in enumerate([("a", 9), ("a", 1), ("b", 2), ("b", 2)]):
        plan.submit(request, of(client, rows))
    plan.withdraw(0)
    plan.sweep(0.0)
    assert served(plan) == [1, 2, 3]


def test_a_higher_class_is_first_and_a_lower_one_gets_its_part():
    plan = one_at_a_time()
    plan.submit(0, of("a", priority=Priority.LOW))
    classes = {Priority.NORMAL: range(1, 200), Priority.HIGH: range(200, 240)}
    for priority, requests in classes.items():
        for request in requests:
            plan.submit(request, of("a", priority=priority))
    order = served(plan)
    assert order[:29] == list(range(200, 229)), "four rows of its own weight later comes the first normal one"
    assert order[29] == 1
    assert order[30:38] == list(range(229, 237)), "then one for every eight high ones"
    assert order.index(0) < order.index(199), "the low one does not wait for all others"


def test_who_is_next_stays_so_though_a_higher_class_comes():
    plan = scheduler(batch_rows=4)
    for request, claim_of in enumerate([of("a", 3), of("b", 4)]):
        plan.submit(request, claim_of)
    assert plan.admit() == [0]
    plan.submit(2, of("c", 1, Priority.HIGH))
    assert plan.admit() == [], "it would fit, but 1 waits for room"
    plan.finish(0)
    assert plan.admit() == [1]


# ---- a full queue


def test_the_heaviest_loses_its_newest_to_one_with_fewer():
    plan = one_at_a_time(waiting_requests=4)
    for request in range(4):
        plan.submit(request, of("heavy"))
    assert plan.submit(4, of("light")) == 3
    with pytest.raises(Overloaded, match="4 requests are waiting"):
        plan.submit(5, of("heavy"))
    assert plan.submit(5, of("light")) == 2
    for client in ("light", "heavy"):
        with pytest.raises(Overloaded):
            plan.submit(6, of(client))
    assert plan.sweep(0.0) == Leavers(displaced=(3, 2))
    assert plan.sweep(0.0) == NOBODY
    assert served(plan) == [0, 4, 1, 5]


def test_a_client_makes_room_for_its_own_more_urgent_request():
    plan = one_at_a_time(waiting_requests=3)
    for request in range(3):
        plan.submit(request, of("a", priority=Priority.LOW))
    assert plan.submit(3, of("a")) == 2
    assert plan.submit(4, of("a", priority=Priority.HIGH)) == 1
    with pytest.raises(Overloaded):
        plan.submit(5, of("a", priority=Priority.LOW))


def test_who_is_next_never_has_to_go():
    plan = scheduler(waiting_requests=2, batch_rows=1)
    plan.submit(0, of("x"))
    plan.admit()
    plan.submit(1, of("a", priority=Priority.LOW))
    plan.admit()
    plan.submit(2, of("a", priority=Priority.LOW))
    assert plan.submit(3, of("a", priority=Priority.HIGH)) == 2
    plan.finish(0)
    assert plan.admit() == [1]
