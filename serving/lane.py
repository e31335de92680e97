"""One model and who waits for it; hands work on it, each on a thread of its own."""

import threading
from collections.abc import Callable, Sequence

from serving.caches.memory import ModelMemoryCache
from serving.counters import Counters
from serving.decoding.step import Model
from serving.errors import BeamstepError
from serving.hand import Hand, Shared
from serving.observer import NOBODY, EngineObserver
from serving.pace import Pace
from serving.request import Deliver, Request
from serving.scheduler import Limits, Scheduler


class Lane:
    """One model with its queue, its requests by number, and its hands.

    Everything but `scheduler`, and adding to `requests`, belongs to the hands; `lock` guards those two.

    Attributes:
        hands: by the number of the thread that each belongs to.
    """

    def __init__(
        self,
        model: Model,
        limits: Limits,
        *,
        clock: Callable[[], float],
        lock: threading.RLock,
        counters: Counters,
        deliver: Deliver,
        cache: ModelMemoryCache | None = None,
        key: str = "",
        observer: EngineObserver = NOBODY,
        hands: int = 1,
    ) -> None:
        self.scheduler = Scheduler(limits, hands)
        self.requests: dict[int, Request] = {}
        self.pace = Pace()
        shared = Shared(
            model, self.scheduler, self.requests, self.pace, lock, clock, counters, deliver, cache, key, observer
        )
        self.hands = tuple(Hand(shared, number) for number in range(hands))

    @property
    def busy(self) -> bool:
        """Say whether a request is there, or a turn that began with one is not over."""
        return self.scheduler.busy or any(hand.at_work for hand in self.hands)

    def fail(self, numbers: Sequence[int], kind: type[BeamstepError], sentence: str) -> None:
        """Fail requests, wherever they are; no thread works on them any more."""
        for hand in self.hands[1:]:
            hand.fail([number for number in numbers if number in hand.held], kind, sentence)
        self.hands[0].fail([number for number in numbers if number in self.requests], kind, sentence)
