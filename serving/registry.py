"""The loaded bundles by name and version, each with its task."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from serving.bundle import Bundle, version_order
from serving.errors import BadBundle, BadConfiguration, UnknownModel
from serving.manifest import TaskName
from serving.tasks.base import Task
from serving.tasks.captioning import Captioning
from serving.tasks.pointing import ConvexHull, Delaunay, Tour
from serving.tasks.translation import Translation

TASKS: Final[Mapping[TaskName, type[Task]]] = {
    "translation": Translation,
    "captioning": Captioning,
    "convex_hull": ConvexHull,
    "delaunay": Delaunay,
    "tour": Tour,
}
LONGEST_ECHO: Final = 100
"""Characters of a caller's own words that an error repeats; gRPC bounds the size of an error."""

AnyTask = TypeVar("AnyTask", bound=Task)


@dataclass(frozen=True)
class Snapshot:
    """What is loaded at one moment.

    Attributes:
        tasks: ordered by name, preferred ones first, then by version, latest first.
        aside: keys of those that answer only when their version is asked for.
    """

    tasks: tuple[Task, ...]
    aside: frozenset[str] = frozenset()


class Registry:
    """Tasks ordered by name, preferred ones first, then by version, latest first.

    Any thread may read: what a reader sees is one whole snapshot. Changes replace it at once; one thread makes them.
    """

    def __init__(self, bundles: Iterable[Bundle], preferred: Sequence[str] = ()) -> None:
        """Open the task of every bundle.

        Raises:
            BadBundle: two bundles have the same name and version.
            BadConfiguration: no bundle has a preferred name.
        """
        self._preferred = preferred
        tasks = self._ordered([TASKS[bundle.manifest.task](bundle) for bundle in bundles])
        _check_preferred(preferred, [task.bundle.manifest.name for task in tasks])
        for first, second in pairwise(tasks):
            if first.bundle.key == second.bundle.key:
                raise BadBundle(
                    f"{first.bundle.folder} and {second.bundle.folder}: both say they are {first.bundle.key}"
                )
        self._now = Snapshot(tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._now.tasks)

    def find(self, kind: type[AnyTask], name: str, version: str) -> AnyTask:
        """Return the bundle that a request for one kind of task means.

        Args:
            kind: what the answer must be able to do.
            name: the bundle's; "" is the first of that kind.
            version: the bundle's; "" is the latest that is not set aside.

        Raises:
            UnknownModel: there is none; the message names those there are.
        """
        now = self._now
        candidates = [task for task in now.tasks if isinstance(task, kind)]
        return _choose(candidates, now.aside, name, version, f"{_word(kind)} model")

    def get(self, name: str, version: str) -> Task:
        """Return a bundle of any kind by its name and version, "" being the latest; raises UnknownModel."""
        now = self._now
        return _choose(now.tasks, now.aside, name, version, "model")

    def swap(self, add: Iterable[Task], remove: Collection[Task] = ()) -> None:
        """Let some tasks take the place of others; nobody ever sees neither or both of them."""
        now = self._now
        left = [task for task in now.tasks if task not in remove]
        self._now = Snapshot(self._ordered([*left, *add]), now.aside)

    def set_aside(self, keys: Collection[str]) -> None:
        """Let these versions, and no others, answer only when they are asked for by version."""
        self._now = Snapshot(self._now.tasks, frozenset(keys))

    def _ordered(self, tasks: Iterable[Task]) -> tuple[Task, ...]:
        latest_first = sorted(tasks, key=lambda task: version_order(task.bundle.manifest.version), reverse=True)
        by_name = sorted(latest_first, key=lambda task: task.bundle.manifest.name)
        return tuple(sorted(by_name, key=lambda task: _place(task.bundle.manifest.name, self._preferred)))


def _place(name: str, preferred: Sequence[str]) -> int:
    return preferred.index(name) if name in preferred else len(preferred)


def _check_preferred(preferred: Sequence[str], names: Sequence[str]) -> None:
    for name in preferred:
        if name not in names:
            raise BadConfiguration(f"prefer: {name}; allowed: some of {', '.join(dict.fromkeys(names))}")


def _choose(candidates: Sequence[AnyTask], aside: Collection[str], name: str, version: str, noun: str) -> AnyTask:
    ordinary = [task for task in candidates if task.bundle.key not in aside]
    wanted_name = name or next((task.bundle.manifest.name for task in ordinary), "")
    for task in candidates if version else ordinary:
        manifest = task.bundle.manifest
        if manifest.name == wanted_name and version in {"", manifest.version}:
            return task
    wanted = f"{wanted_name[:LONGEST_ECHO]}/{version[:LONGEST_ECHO]}".strip("/") if name or version else ""
    loaded = ", ".join(task.bundle.key for task in candidates) or "none"
    raise UnknownModel(f"no {noun} {wanted!r} is loaded; loaded: {loaded}" if wanted else f"no {noun} is loaded")


def _word(kind: type[Task]) -> str:
    return next((name.replace("_", " ") for name, task in TASKS.items() if task is kind), kind.__name__)
