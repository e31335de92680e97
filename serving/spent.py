"""Where the time of steps went."""

from typing import Final, NamedTuple


class Spent(NamedTuple):
    """Where a batch's time went.

    Attributes:
        step_s: running the decoder step.
        search_s: preparing its inputs and selecting from its outputs.
    """

    step_s: float = 0.0
    search_s: float = 0.0

    def plus(self, step_s: float, search_s: float) -> "Spent":
        """Return it after one more step."""
        return Spent(self.step_s + step_s, self.search_s + search_s)

    def since(self, before: "Spent") -> "Spent":
        """Return what came on top of an earlier one."""
        return Spent(self.step_s - before.step_s, self.search_s - before.search_s)


NOTHING: Final = Spent()
