"""How many requests of each client wait, and who has most of them, in constant time."""

from collections import defaultdict


class ClientCounts:
    """Counts by client; clients with none are forgotten."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._clients: defaultdict[int, dict[str, None]] = defaultdict(dict)  # by count, the first to have it first
        self._most = 0

    def __getitem__(self, client: str) -> int:
        return self._counts.get(client, 0)

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def heaviest(self) -> str | None:
        """Return a client of whom no other has more; None where there is nobody."""
        return next(iter(self._clients[self._most]), None) if self._most else None

    def add(self, client: str) -> None:
        """Count one more."""
        self._move(client, self[client] + 1)

    def remove(self, client: str) -> None:
        """Count one less, of a client who has one."""
        self._move(client, self._counts[client] - 1)

    def _move(self, client: str, count: int) -> None:
        before = self._counts.pop(client, 0)
        if before:
            del self._clients[before][client]
            if not self._clients[before]:
                del self._clients[before]
        if count:
            self._counts[client] = count
            self._clients[count][client] = None
        # One step at a time: whoever had most before has it still, or has one less now.
        self._most = max(self._most, count)
        while self._most and self._most not in self._clients:
            self._most -= 1
