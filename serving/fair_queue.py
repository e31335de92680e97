"""The requests that wait for one model, and who of them is next: plain data, no clock.

Two rules, one inside the other, both counting the rows that were given away (a wide beam costs its client more than a narrow one):

* Classes of priority share by weight, by start-time fair queueing (Goyal, Vin and Cheng 1996), where a class that was idle begins
  a few rows of its own later: little for a high class, which comes nearly at once, and much for a low one. Of all that wait a
  lower class still gets its part, so that none starves.
* Within a class clients share evenly, by self-clocked fair queueing (Golestani 1994): every client's first request has a tag,
  the class's virtual time plus its rows, and the least tag is next. Virtual time moves on with every request that is served, so
  that no stream of newcomers can hold anybody up; and nothing has to be remembered of a client who has nothing waiting.

A client's own requests of one class stay in order. Who is next stays so until it leaves: one that has to wait for room for a wide
beam is not overtaken by narrow ones.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from serving.claim import Claim, Priority
from serving.client_counts import ClientCounts

WEIGHTS: Final[Mapping[Priority, float]] = {Priority.HIGH: 64.0, Priority.NORMAL: 8.0, Priority.LOW: 1.0}
"""How classes share the rows while all of them wait."""
LATER: Final = 4.0
"""After so many rows of its own, by its weight, a class that was idle has its turn."""
STALE: Final = 64
"""So many entries beyond twice the needed ones may stand in a heap."""


@dataclass
class _Client:
    """What one client has waiting in one class: its requests in order, and the rows it had, in the class's virtual time."""

    served: float
    requests: OrderedDict[int, Claim] = field(default_factory=OrderedDict)

    @property
    def first(self) -> int:
        return next(iter(self.requests))

    @property
    def tag(self) -> float:
        return self.served + self.requests[self.first].rows


class _Class:
    """The clients of one class, the one whose first request has the least tag being next."""

    def __init__(self) -> None:
        self.start = 0.0  # among classes
        self.clients: dict[str, _Client] = {}
        self._time = 0.0
        self._heap: list[tuple[float, int, str]] = []  # tag, request, client; stale where the client's first is another

    def add(self, request: int, claim: Claim) -> None:
        client = self.clients.setdefault(claim.client, _Client(self._time))
        client.requests[request] = claim
        if len(client.requests) == 1:
            self._push(claim.client)

    def first(self) -> int:
        """Return who is next; there is somebody."""
        while True:
            _, request, name = self._heap[0]
            client = self.clients.get(name)
            if client is not None and client.first == request:
                return request
            heapq.heappop(self._heap)

    def remove(self, request: int, claim: Claim, *, served: bool) -> None:
        """Take a request out; one that was served costs its client its rows."""
        client = self.clients[claim.client]
        was_first = client.first == request
        if served:
            client.served = client.tag
            self._time = max(self._time, client.tag)
        del client.requests[request]
        if not client.requests:
            del self.clients[claim.client]  # its tag is not beyond the class's time: nothing to remember
        elif was_first:
            self._push(claim.client)

    def _push(self, name: str) -> None:
        client = self.clients[name]
        heapq.heappush(self._heap, (client.tag, client.first, name))
        if len(self._heap) > 2 * len(self.clients) + STALE:
            self._heap = [(client.tag, client.first, name) for name, client in self.clients.items()]
            heapq.heapify(self._heap)


class FairQueue(Mapping[int, Claim]):
    """Waiting requests by number, in order of arrival; `head` is next."""

    def __init__(self) -> None:
        self._claims: dict[int, Claim] = {}
        self._classes = {priority: _Class() for priority in sorted(Priority, reverse=True)}
        self._waiting = ClientCounts()
        self._start = 0.0  # of the class that was served last
        self._head: int | None = None

    def __getitem__(self, request: int) -> Claim:
        return self._claims[request]

    def __iter__(self) -> Iterator[int]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)

    def waiting_of(self, client: str) -> int:
        """Return how many requests of a client wait."""
        return self._waiting[client]

    def add(self, request: int, claim: Claim) -> None:
        """Let a request wait; numbers must grow in order of arrival."""
        of_class = self._classes[claim.priority]
        if not of_class.clients:
            of_class.start = max(of_class.start, self._start) + LATER / WEIGHTS[claim.priority]
        of_class.add(request, claim)
        self._claims[request] = claim
        self._waiting.add(claim.client)

    def head(self) -> int:
        """Return who is next, of at least one; it stays so until it leaves."""
        if self._head is None:
            waiting = [of_class for of_class in self._classes.values() if of_class.clients]
            self._head = min(waiting, key=lambda of_class: of_class.start).first()  # of equals the higher class
        return self._head

    def serve(self) -> Claim:
        """Take the head out and charge its client and class for it."""
        request = self.head()
        claim = self._claims[request]
        of_class = self._classes[claim.priority]
        self._start = max(self._start, of_class.start)
        of_class.start += claim.rows / WEIGHTS[claim.priority]
        self._take_out(request, served=True)
        return claim

    def remove(self, request: int) -> Claim | None:
        """Take a request out that goes without an answer and costs nobody anything; None where it does not wait."""
        return self._take_out(request, served=False) if request in self._claims else None

    def displaced_by(self, client: str, priority: Priority) -> int | None:
        """Return who would have to go for one more of `client`; None where nobody has to.

        A client's own newest request of a lower class; or the newest, of the lowest class, of whoever has most waiting, where that
        leaves them no fewer than `client` will have then. The head never has to go.
        """
        own = self._newest(client, below=priority)
        heaviest = self._waiting.heaviest
        if own is not None or heaviest is None or self._waiting[heaviest] < self._waiting[client] + 2:
            return own
        return self._newest(heaviest)

    def _newest(self, client: str, below: Priority | None = None) -> int | None:
        """Return a client's newest request of the lowest class it has any in, the head aside."""
        for priority in sorted(Priority):
            if below is not None and priority >= below:
                return None
            of_client = self._classes[priority].clients.get(client)
            newest = next((r for r in reversed(of_client.requests) if r != self._head), None) if of_client else None
            if newest is not None:
                return newest
        return None

    def _take_out(self, request: int, *, served: bool) -> Claim:
        claim = self._claims.pop(request)
        self._classes[claim.priority].remove(request, claim, served=served)
        self._waiting.remove(claim.client)
        if request == self._head:
            self._head = None
        return claim
