"""Who waits and who runs on one model: plain data, no thread, no clock but the time it is told."""

import math
from dataclasses import dataclass

from serving.claim import Claim, Priority
from serving.errors import InvalidRequest, Overloaded
from serving.fair_queue import FairQueue


@dataclass(frozen=True)
class Limits:
    """How much one model takes on.

    Attributes:
        waiting_requests: most requests in the queue; one more is refused at once.
        batch_rows: most rows of the running batch; a request counts with its whole beam from the start.
        batch_sources: most requests of the running batch.
        encode_sources: most sources encoded between two steps, so that a rush of new requests cannot hold up the running ones
            for long.
        encode_positions: most positions of sources encoded between two steps; a longer source is encoded alone.
    """

    waiting_requests: int = 256
    batch_rows: int = 256
    batch_sources: int = 64
    encode_sources: int = 8
    encode_positions: int = 256

    def __post_init__(self) -> None:
        assert min(vars(self).values()) >= 1


@dataclass(frozen=True)
class Leavers:
    """Requests that leave without an answer; the displaced have been told already."""

    withdrawn: tuple[int, ...] = ()
    expired: tuple[int, ...] = ()
    displaced: tuple[int, ...] = ()


NOBODY = Leavers()


class Scheduler:
    """Requests by id, each waiting or running until it is finished, withdrawn or expired.

    Clients and classes of priority share the room (`FairQueue`); whoever is next is never overtaken, so a wide beam that has to
    wait for room cannot starve behind narrow ones.

    Several hands may work on one queue, each on batches of its own. A request stays with the hand that admitted it, which alone
    may let it go. They share the rows evenly: one that has its part leaves who waits to the others.

    Attributes:
        displaced: requests that had to leave a full queue to make room, until the next sweep.
    """

    def __init__(self, limits: Limits, hands: int = 1) -> None:
        """Make one with nobody there, for so many hands; they are told apart by number, from 0."""
        self.limits = limits
        self.waiting = FairQueue()
        self.running: dict[int, Claim] = {}
        self.rows = 0  # claimed by those running
        self.displaced: list[int] = []
        self._waiting_rows = 0
        self._hand: dict[int, int] = {}  # of those running
        self._rows_of = [0] * hands
        self._running_of = [0] * hands
        self._withdrawn: list[int] = []
        self._next_deadline = math.inf
        self.next_return = math.inf  # no deadline of those that want their best by then is nearer

    @property
    def busy(self) -> bool:
        """Say whether there is anything to do."""
        return bool(self.waiting or self.running)

    def has_work(self, hand: int) -> bool:
        """Say whether a hand has requests, or can take in the one that is next."""
        return self._running_of[hand] > 0 or self._may_admit(hand)

    @property
    def full(self) -> bool:
        """Say whether there is no room in the queue, unless somebody leaves."""
        return len(self.waiting) >= self.limits.waiting_requests

    def check_room(self, client: str, priority: Priority) -> int | None:
        """Return who would have to leave the queue for one more request of `client`; None where nobody has to.

        Raises:
            Overloaded: the queue is full, and nobody else has more than their share of it.
        """
        if not self.full:
            return None
        displaced = self.waiting.displaced_by(client, priority)
        if displaced is None:
            raise Overloaded(f"the queue is full: {len(self.waiting)} requests are waiting; retry later")
        return displaced

    def submit(self, request: int, claim: Claim) -> int | None:
        """Queue a request; return the one that has to leave the queue for it, if any, which is to be told.

        Raises:
            InvalidRequest: its beam is wider than a whole batch may be.
            Overloaded: see `check_room`.
        """
        if claim.rows > self.limits.batch_rows:
            raise InvalidRequest("beam_size", str(claim.rows), f"1 to {self.limits.batch_rows}, the rows of one batch")
        displaced = self.check_room(claim.client, claim.priority)
        if displaced is not None:
            self._remove(displaced)
            self.displaced.append(displaced)
        self.waiting.add(request, claim)
        self._waiting_rows += claim.rows
        if claim.deadline is not None:
            self._next_deadline = min(self._next_deadline, claim.deadline)
            if claim.return_best:
                self.next_return = min(self.next_return, claim.deadline)
        return displaced

    def withdraw(self, request: int) -> None:
        """Note that nobody wants the answer any more; does nothing when the request is gone already."""
        if request in self.waiting or request in self.running:
            self._withdrawn.append(request)

    def sweep(self, now: float, hand: int = 0) -> Leavers:
        """Remove the withdrawn and the expired, waiting or running with `hand`, and return them; to be called before admitting."""
        displaced = tuple(self.displaced)
        self.displaced.clear()
        if not self._withdrawn and now < self._next_deadline:
            return Leavers(displaced=displaced) if displaced else NOBODY
        others = [request for request in self._withdrawn if self._hand.get(request, hand) != hand]
        own = dict.fromkeys(request for request in self._withdrawn if self._hand.get(request, hand) == hand)
        withdrawn = tuple(request for request in own if self._remove(request))
        self._withdrawn = others
        claims = {**self.waiting, **self._running_with(hand)}
        expired = tuple(r for r, claim in claims.items() if claim.deadline is not None and claim.deadline <= now)
        for request in expired:
            self._remove(request)
        remaining = {**self.waiting, **self.running}.values()
        self._next_deadline = min((c.deadline for c in remaining if c.deadline is not None), default=math.inf)
        return Leavers(withdrawn, expired, displaced)

    def due(self, now: float, lead: float, each: float = 0.0, hand: int = 0) -> list[int]:
        """Return the running requests that want their best now, so that all have it by their deadlines; they stay until finished.

        Args:
            now: the time.
            lead: how long before its deadline a single one wants it.
            each: how much earlier every further one does that has to be answered by the same time.
            hand: whose they are.

        Returns:
            them, nearest deadline first.
        """
        if now + lead + each * len(self.running) < self.next_return:
            return []
        claims = {**self.waiting, **self.running}
        deadlines = {r: c.deadline for r, c in claims.items() if c.return_best and c.deadline is not None}
        nearest = sorted((r for r in deadlines if self._hand.get(r) == hand), key=lambda r: deadlines[r])
        late = [place for place, r in enumerate(nearest) if deadlines[r] <= now + lead + each * place]
        due = nearest[: late[-1] + 1] if late else []
        self.next_return = min((deadlines[r] for r in deadlines.keys() - set(due)), default=math.inf)
        return due

    def admit(self, hand: int = 0) -> list[int]:
        """Move those who fit from the queue to a hand, in the order of `FairQueue`, and return them."""
        admitted: list[int] = []
        positions = 0
        while self._may_admit(hand):
            request = self.waiting.head()
            claim = self.waiting[request]
            positions += claim.positions
            if admitted and not self._in_time(len(admitted), positions):
                break
            self.running[request] = self.waiting.serve()
            self._hand[request] = hand
            self._waiting_rows -= claim.rows
            self.rows += claim.rows
            self._rows_of[hand] += claim.rows
            self._running_of[hand] += 1
            admitted.append(request)
        return admitted

    def finish(self, request: int) -> None:
        """Free what a running request claimed."""
        self._remove(request)

    def _may_admit(self, hand: int) -> bool:
        """Say whether whoever is next fits, and is this hand's to take: it has none, or is nearer to its part of all rows then."""
        if not self.waiting:
            return False
        claim = self.waiting[self.waiting.head()]
        if not self._fits(claim):
            return False
        part = min(self.rows + self._waiting_rows, self.limits.batch_rows) / len(self._rows_of)
        return not self._running_of[hand] or self._rows_of[hand] + claim.rows / 2 <= part

    def _running_with(self, hand: int) -> dict[int, Claim]:
        return {request: claim for request, claim in self.running.items() if self._hand[request] == hand}

    def _fits(self, claim: Claim) -> bool:
        """Say whether one more request would stay within what a batch may hold."""
        return len(self.running) < self.limits.batch_sources and self.rows + claim.rows <= self.limits.batch_rows

    def _in_time(self, admitted: int, positions: int) -> bool:
        """Say whether one more source may be encoded in this turn, `positions` with it."""
        return admitted < self.limits.encode_sources and positions <= self.limits.encode_positions

    def _remove(self, request: int) -> bool:
        """Take a request out, wherever it is; say whether it was there."""
        claim = self.waiting.remove(request)
        if claim is not None:
            self._waiting_rows -= claim.rows
            return True
        claim = self.running.pop(request, None)
        if claim is None:
            return False
        hand = self._hand.pop(request)
        self.rows -= claim.rows
        self._rows_of[hand] -= claim.rows
        self._running_of[hand] -= 1
        return True
