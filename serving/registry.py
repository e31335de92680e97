"""The loaded bundles by name and version, each with its task."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


class Registry:
    """Tasks ordered by name, preferred ones first, then by version, latest first; never changes once it is made."""

    def __init__(self, bundles: Iterable[Bundle], preferred: Sequence[str] = ()) -> None:
        """Open the task of every bundle.

        Raises:
            BadBundle: two bundles have the same name and version.
            BadConfiguration: no bundle has a preferred name.
        """
        latest_first = sorted(bundles, key=lambda bundle: version_order(bundle.manifest.version), reverse=True)
        by_name = sorted(latest_first, key=lambda bundle: bundle.manifest.name)
        ordered = sorted(by_name, key=lambda bundle: _place(bundle.manifest.name, preferred))
        _check_preferred(preferred, [bundle.manifest.name for bundle in ordered])
        for first, second in pairwise(ordered):
            if first.key == second.key:
                raise BadBundle(f"{first.folder} and {second.folder}: both say they are {first.key}")
        self._tasks = [TASKS[bundle.manifest.task](bundle) for bundle in ordered]

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    def find(self, kind: type[AnyTask], name: str, version: str) -> AnyTask:
        """Return the bundle that a request for one kind of task means.

        Args:
            kind: what the answer must be able to do.
            name: the bundle's; "" is the first of that kind.
            version: the bundle's; "" is the latest.

        Raises:
            UnknownModel: there is none; the message names those there are.
        """
        candidates = [task for task in self._tasks if isinstance(task, kind)]
        return _choose(candidates, name, version, f"{_word(kind)} model")

    def get(self, name: str, version: str) -> Task:
        """Return a bundle of any kind by its name and version, "" being the latest; raises UnknownModel."""
        return _choose(self._tasks, name, version, "model")


def _place(name: str, preferred: Sequence[str]) -> int:
    return preferred.index(name) if name in preferred else len(preferred)


def _check_preferred(preferred: Sequence[str], names: Sequence[str]) -> None:
    for name in preferred:
        if name not in names:
            raise BadConfiguration(f"prefer: {name}; allowed: some of {', '.join(dict.fromkeys(names))}")


def _choose(candidates: list[AnyTask], name: str, version: str, noun: str) -> AnyTask:
    wanted_name = name or next((task.bundle.manifest.name for task in candidates), "")
    for task in candidates:
        manifest = task.bundle.manifest
        if manifest.name == wanted_name and version in {"", manifest.version}:
            return task
    wanted = f"{wanted_name[:LONGEST_ECHO]}/{version[:LONGEST_ECHO]}".strip("/") if name or version else ""
    loaded = ", ".join(task.bundle.key for task in candidates) or "none"
    raise UnknownModel(f"no {noun} {wanted!r} is loaded; loaded: {loaded}" if wanted else f"no {noun} is loaded")


def _word(kind: type[Task]) -> str:
    return next((name.replace("_", " ") for name, task in TASKS.items() if task is kind), kind.__name__)
