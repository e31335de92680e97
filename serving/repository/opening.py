"""A version's folder, checked and opened: everything that takes long, and knows nothing of what is served meanwhile."""

from collections.abc import Callable, Collection
from dataclasses import replace

from serving.bundle import Bundle, load_bundle
from serving.decoding.step import Model
from serving.errors import BadBundle
from serving.manifest import TaskName
from serving.registry import TASKS
from serving.repository.folder import Found
from serving.tasks.base import Task

Opened = tuple[Task, Model]


class Opener:
    """Opens versions, one at a time."""

    def __init__(self, open_model: Callable[[Bundle], Model], tasks: Collection[TaskName]) -> None:
        """Make an opener.

        Args:
            open_model: opens a bundle's sessions and warms them up.
            tasks: those that the server's services answer for.
        """
        self._open_model = open_model
        self._tasks = tasks
        self._first_content: dict[str, str] = {}  # of each version, the first that was opened

    def note(self, bundle: Bundle) -> None:
        """Remember a version that was opened elsewhere."""
        self._first_content[bundle.key] = bundle.content

    def open(self, one: Found, others: Collection[TaskName], content: str) -> Opened | None:
        """Check a folder, open its sessions and warm them up.

        Args:
            one: the folder.
            others: the task of the other versions of this name; empty where there are none.
            content: the hash of what is served of this version; "" where nothing is.

        Returns:
            None where its content is what is served already.

        Raises:
            BadBundle, BadConfiguration: it cannot be served.
        """
        bundle = load_bundle(one.folder)
        manifest = bundle.manifest
        if bundle.key != one.key:
            raise BadBundle(f"{one.folder}: its manifest says that it is {bundle.key}")
        if manifest.task not in self._tasks:
            raise BadBundle(f"task: {manifest.task}; allowed here: {', '.join(self._tasks)}, by the services offered")
        if others and manifest.task not in others:
            raise BadBundle(f"task: {manifest.task}; the other versions of {one.name} have {', '.join(others)}")
        if bundle.content == content:
            return None
        first = self._first_content.setdefault(bundle.key, bundle.content)
        if bundle.content != first:
            bundle = replace(bundle, edition=bundle.content[:8])
        return TASKS[manifest.task](bundle), self._open_model(bundle)
