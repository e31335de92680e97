"""The scheduler over random histories: limits hold, order holds, nobody is lost."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.errors import InvalidRequest, Overloaded
from serving.scheduler import Claim, Limits, Scheduler

small = st.integers(1, 6)


class Histories(RuleBasedStateMachine):
    @initialize(limits=st.builds(Limits, small, small, small, small))
    def begin(self, limits):
        self.plan = Scheduler(limits)
        self.limits = limits
        self.now = 0.0
        self.deadlines: dict[int, float | None] = {}
        self.rows: dict[int, int] = {}
        self.withdrawn: set[int] = set()
        self.expected_order: list[int] = []

    @rule(rows=st.integers(1, 8), wait=st.none() | st.floats(0, 5))
    def submit(self, rows, wait):
        request = len(self.rows)
        deadline = None if wait is None else self.now + wait
        full = len(self.plan.waiting) == self.limits.waiting_requests
        try:
            self.plan.submit(request, Claim(rows, deadline))
        except InvalidRequest:
            assert rows > self.limits.batch_rows
        except Overloaded:
            assert full
        else:
            assert not full
            self.rows[request] = rows
            self.deadlines[request] = deadline
            self.expected_order.append(request)

    @rule(seconds=st.floats(0, 3))
    def pass_time(self, seconds):
        self.now += seconds

    @rule(data=st.data())
    def withdraw(self, data):
        request = data.draw(st.integers(0, len(self.rows)))
        self.plan.withdraw(request)
        if request in self.deadlines:
            self.withdrawn.add(request)

    @rule()
    def turn(self):
        leavers = self.plan.sweep(self.now)
        for request in leavers.withdrawn:
            assert request in self.withdrawn
        for request in leavers.expired:
            assert self.deadlines[request] <= self.now
        for request in (*leavers.withdrawn, *leavers.expired):
            self.forget(request)
        assert not self.withdrawn & self.deadlines.keys(), "all the withdrawn left"
        assert all(deadline is None or deadline > self.now for deadline in self.deadlines.values())
        admitted = self.plan.admit()
        assert len(admitted) <= self.limits.encode_sources
        assert admitted == self.expected_order[: len(admitted)], "in order of arrival"
        del self.expected_order[: len(admitted)]
        assert admitted or not self.plan.waiting or self.plan.running, "an empty batch takes the first in the queue"

    @precondition(lambda self: self.plan.running)
    @rule(data=st.data())
    def finish(self, data):
        request = data.draw(st.sampled_from(sorted(self.plan.running)))
        self.plan.finish(request)
        self.forget(request)

    def forget(self, request):
        del self.deadlines[request]
        self.withdrawn.discard(request)
        if request in self.expected_order:
            self.expected_order.remove(request)

    @invariant()
    def nobody_is_lost_and_no_limit_is_passed(self):
        if not hasattr(self, "plan"):
            return
        assert self.plan.waiting.keys() | self.plan.running.keys() == self.deadlines.keys()
        assert not self.plan.waiting.keys() & self.plan.running.keys()
        assert self.plan.rows == sum(self.rows[request] for request in self.plan.running) <= self.limits.batch_rows
        assert len(self.plan.running) <= self.limits.batch_sources
        assert len(self.plan.waiting) <= self.limits.waiting_requests


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
