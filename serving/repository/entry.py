"""What is known of one version of a model: whether it is served, and if not, why."""

from dataclasses import dataclass
from enum import Enum

from serving.tasks.base import Task


class State(Enum):
    """Where a version stands."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    UNLOADED = "unloaded"


@dataclass(frozen=True)
class Row:
    """What an administrator is told of one version.

    Attributes:
        name: of the model.
        version: of it.
        state: where it stands.
        reason: why it failed; of one that is ready, what is wrong with the newer content of its folder; else "".
        content: a hash of what is loaded; "" where nothing is.
    """

    name: str
    version: str
    state: State
    reason: str = ""
    content: str = ""


@dataclass
class Entry:
    """One version of a model in the repository.

    Attributes:
        name: of the model.
        version: of it.
        state: where it stands.
        reason: see `Row`.
        fingerprint: of the folder when it was last read; "" before.
        task: what is served; None where nothing is.
        by_hand: whether an administrator loaded or unloaded it, so that the policy has no say.
    """

    name: str
    version: str
    state: State
    reason: str = ""
    fingerprint: str = ""
    task: Task | None = None
    by_hand: bool = False

    @property
    def key(self) -> str:
        """Return name and version in one string."""
        return f"{self.name}/{self.version}"

    def row(self) -> Row:
        """Return what an administrator is told."""
        content = "" if self.task is None else self.task.bundle.content
        return Row(self.name, self.version, self.state, self.reason, content)
