"""The scheduler over random histories: limits hold, order holds, shares are fair, nobody starves and nobody is lost."""

from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.claim import Claim, Priority
from serving.client_counts import ClientCounts
from serving.errors import InvalidRequest, Overloaded
from serving.fair_queue import LATER, WEIGHTS, FairQueue
from serving.scheduler import Limits, Scheduler

small = st.integers(1, 6)
clients = st.sampled_from("abcd")
priorities = st.sampled_from(list(Priority))


class Histories(RuleBasedStateMachine):
    @initialize(limits=st.builds(Limits, small, small, small, small))
    def begin(self, limits):
        self.plan = Scheduler(limits)
        self.limits = limits
        self.now = 0.0
        self.deadlines: dict[int, float | None] = {}
        self.rows: dict[int, int] = {}
        self.claims: dict[int, Claim] = {}
        self.withdrawn: set[int] = set()
        self.displaced: set[int] = set()
        self.head: int | None = None

    @rule(rows=st.integers(1, 8), wait=st.none() | st.floats(0, 5), client=clients, priority=priorities)
    def submit(self, rows, wait, client, priority):
        request = len(self.rows)
        deadline = None if wait is None else self.now + wait
        waiting = dict(self.plan.waiting)
        full = len(waiting) == self.limits.waiting_requests
        held = Counter(claim.client for claim in waiting.values())
        claim = Claim(rows, deadline, client=client, priority=priority)
        try:
            displaced = self.plan.submit(request, claim)
        except InvalidRequest:
            assert rows > self.limits.batch_rows
        except Overloaded:
            assert full
            assert max(held.values()) < held[client] + 2, "nobody has more than a fair share"
        else:
            assert (displaced is not None) == full
            if displaced is not None:
                gone = waiting[displaced]
                assert displaced != self.head
                own_lower = gone.client == client and gone.priority < priority
                assert own_lower or held[gone.client] == max(held.values()) >= held[client] + 2
                alike = [r for r, c in waiting.items() if (c.client, c.priority) == (gone.client, gone.priority)]
                assert displaced == max(r for r in alike if r != self.head), "the newest of its kind"
                self.forget(displaced)
                self.displaced.add(displaced)
            self.rows[request] = rows
            self.claims[request] = claim
            self.deadlines[request] = deadline

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
        assert set(leavers.displaced) == self.displaced, "each is told once"
        self.displaced.clear()
        for request in leavers.withdrawn:
            assert request in self.withdrawn
        for request in leavers.expired:
            assert self.deadlines[request] <= self.now
        for request in (*leavers.withdrawn, *leavers.expired):
            self.forget(request)
        assert not self.withdrawn & self.deadlines.keys(), "all the withdrawn left"
        assert all(deadline is None or deadline > self.now for deadline in self.deadlines.values())
        waiting = dict(self.plan.waiting)
        admitted = self.plan.admit()
        assert len(admitted) <= self.limits.encode_sources
        if self.head in waiting and admitted:
            assert admitted[0] == self.head, "whoever was next is not overtaken"
        for request in admitted:
            earlier = [r for r in waiting if r < request and same_kind(waiting[r], waiting[request])]
            assert not earlier, "a client's own requests of one class stay in order"
            del waiting[request]
        self.head = self.plan.waiting.head() if self.plan.waiting else None
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

    @invariant()
    def nobody_is_lost_and_no_limit_is_passed(self):
        if not hasattr(self, "plan"):
            return
        assert self.plan.waiting.keys() | self.plan.running.keys() == self.deadlines.keys()
        assert not self.plan.waiting.keys() & self.plan.running.keys()
        assert self.plan.rows == sum(self.rows[request] for request in self.plan.running) <= self.limits.batch_rows
        assert len(self.plan.running) <= self.limits.batch_sources
        assert len(self.plan.waiting) <= self.limits.waiting_requests


def same_kind(one: Claim, other: Claim) -> bool:
    return (one.client, one.priority) == (other.client, other.priority)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# ---- the shares of those who always wait


def kept_full(flows: list[Claim], served: int, queue: FairQueue | None = None) -> list[int]:
    """Serve so many requests while every flow has two waiting; return how many rows each was given."""
    queue = queue or FairQueue()
    owner: dict[int, int] = {}
    numbers = iter(range(10**6))

    def ask(flow: int) -> None:
        number = next(numbers)
        owner[number] = flow
        queue.add(number, flows[flow])

    for flow in range(len(flows)):
        ask(flow)
        ask(flow)
    rows = [0] * len(flows)
    for _ in range(served):
        flow = owner[queue.head()]
        rows[flow] += queue.serve().rows
        ask(flow)
    return rows


@given(st.lists(st.integers(1, 16), min_size=2, max_size=6), st.integers(1, 300))
def test_clients_who_always_wait_get_the_same_rows_whatever_their_beams(beams, served):
    rows = kept_full([Claim(beam, None, client=str(number)) for number, beam in enumerate(beams)], served)
    for one, of_one in zip(beams, rows, strict=True):
        for other, of_other in zip(beams, rows, strict=True):
            assert of_one - of_other <= one + other


@given(st.lists(st.integers(1, 16), min_size=3, max_size=3), st.integers(1, 600))
def test_classes_that_always_wait_get_rows_by_their_weights(beams, served):
    flows = [Claim(beam, None, priority=priority) for beam, priority in zip(beams, Priority, strict=True)]
    rows = kept_full(flows, served)
    for one, of_one in zip(flows, rows, strict=True):
        for other, of_other in zip(flows, rows, strict=True):
            lag = of_one / WEIGHTS[one.priority] - of_other / WEIGHTS[other.priority]
            most = one.rows / WEIGHTS[one.priority] + (other.rows + LATER) / WEIGHTS[other.priority]
            assert lag <= most + 1e-9


@given(st.integers(1, 16), st.integers(1, 20), priorities)
def test_no_stream_of_new_clients_starves_one_who_waits(beam, places, priority):
    """A request is served although new clients fill every place that comes free, at once and for ever."""
    queue = FairQueue()
    queue.add(0, Claim(beam, None, client="patient", priority=priority))
    overtaken = 0
    number = 1
    while True:
        while len(queue) <= places:
            queue.add(number, Claim(1, None, client=f"new {number}", priority=priority))
            number += 1
        if queue.head() == 0:
            break
        queue.serve()
        overtaken += 1
        assert overtaken <= places * beam, "a round of all places for each of its rows"


@given(st.integers(0, 40))
def test_a_heavy_client_holds_a_light_one_up_by_a_round_alone(backlog):
    """However much a heavy client has waiting, a light one's first request is served after as many rows as it wants itself."""
    queue = FairQueue()
    number = 0
    for number in range(backlog + 1):
        queue.add(number, Claim(1, None, client="heavy"))
    queue.head()
    queue.add(number + 1, Claim(4, None, client="light"))
    rows = 0
    while queue.head() != number + 1:
        rows += queue.serve().rows
    assert rows <= 1 + 4, "the head that was chosen already, and as many rows as the light one wants"


@given(st.lists(st.tuples(st.booleans(), clients), max_size=80))
def test_clients_are_counted_and_the_heaviest_known(moves):
    counts, expected = ClientCounts(), Counter()
    for add, client in moves:
        if add:
            counts.add(client)
            expected[client] += 1
        elif expected[client]:
            counts.remove(client)
            expected[client] -= 1
        assert [counts[name] for name in "abcd"] == [expected[name] for name in "abcd"]
        if expected.total():
            assert expected[counts.heaviest] == max(expected.values())
        else:
            assert counts.heaviest is None


@given(st.lists(st.tuples(st.sampled_from("aws"), clients, priorities, st.integers(1, 9)), max_size=200))
def test_every_request_leaves_the_queue_once_and_forgotten_clients_cost_nothing(moves):
    queue, waiting = FairQueue(), deque()
    served = set()
    for number, (move, client, priority, rows) in enumerate(moves):
        if move == "a":
            queue.add(number, Claim(rows, None, client=client, priority=priority))
            waiting.append(number)
        elif move == "w" and waiting:
            waiting.rotate(number)
            assert queue.remove(waiting[0]) is not None
            assert queue.remove(waiting.popleft()) is None
        elif waiting:
            head = queue.head()
            queue.serve()
            waiting.remove(head)
            served.add(head)
        assert set(queue) == set(waiting)
    while queue:
        served.add(queue.head())
        queue.serve()
    assert set(waiting) <= served
    assert not any(of_class.clients for of_class in queue._classes.values())
