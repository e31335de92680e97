"""Who may watch the engine work: told of every encoder run, every step and every end, on the engine's own threads."""

from typing import Final, Literal, Protocol

Outcome = Literal["finished", "cancelled", "expired", "displaced", "failed"]
"""How a request ends; see `serving.counters.Counters`."""


class EngineObserver(Protocol):
    """Is told what the engine does. The engine waits for it: it must return within microseconds and not raise.

    `model` is the engine's key, such as "translation-en-de/1"; times are seconds.
    """

    def encoded(self, model: str, sources: int, real_positions: int, positions: int, seconds: float) -> None:
        """Note an encoder run.

        Args:
            model: whose.
            sources: how many were encoded in one batch.
            real_positions: of all sources together.
            positions: of the batch as the encoder's memory has it, padding included.
            seconds: of the whole run.
        """

    def stepped(self, model: str, rows: int, sources: int, *, graph_s: float, search_s: float, turn_s: float) -> None:
        """Note a step.

        Args:
            model: whose.
            rows: hypotheses that it took on by one token.
            sources: requests that they belong to.
            graph_s: running the decoder step.
            search_s: preparing its inputs and selecting from its outputs.
            turn_s: the whole turn: eviction, admission and encoding before the step and answering after it included.
        """

    def ended(self, model: str, outcome: Outcome, steps: int, queue_s: float) -> None:
        """Note that a request is over.

        Args:
            model: whose.
            outcome: how it ended.
            steps: that it took part in.
            queue_s: from `submit` until its encoding began, or until it left the queue.
        """


class Nobody:
    """Watches nothing."""

    def encoded(self, model: str, sources: int, real_positions: int, positions: int, seconds: float) -> None:
        """Ignore an encoder run."""

    def stepped(self, model: str, rows: int, sources: int, *, graph_s: float, search_s: float, turn_s: float) -> None:
        """Ignore a step."""

    def ended(self, model: str, outcome: Outcome, steps: int, queue_s: float) -> None:
        """Ignore an end."""


NOBODY: Final = Nobody()
