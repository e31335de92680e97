"""Models that come and go: loaded and warmed beside those that are served, then swapped, then drained.

    a version    folder -> loading -> ready -> draining -> gone        or failed, until its folder changes

Everything but the loading itself happens on the event loop. No call fails: a version is out of the registry at once, but the
engine takes requests for it until the last call that looked it up is over, which is when nothing refers to its task any more.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from serving.bundle import Bundle, version_order
from serving.decoding.step import Model
from serving.engine import Engine
from serving.errors import BeamstepError, Draining, InvalidRequest, Refused, UnknownModel
from serving.manifest import TaskName
from serving.registry import Registry
from serving.repository.canary import Canaries, CanaryFigures
from serving.repository.config import CanaryShare, RepositoryConfig
from serving.repository.entry import Entry, Row, State
from serving.repository.folder import Found, scan
from serving.repository.last_use import last_use
from serving.repository.opening import Opened, Opener
from serving.scheduler import Limits
from serving.tasks.base import Task

logger = logging.getLogger(__name__)

CYCLES_S: Final = 1.0
"""After so long a drained version's last users may be garbage in cycles, such as errors, which only the collector finds."""

Result = TypeVar("Result")


class Repository:
    """The versions of all models, from their folders to the engine.

    Attributes:
        canaries: the versions on trial.
    """

    def __init__(
        self,
        models: Path,
        registry: Registry,
        config: RepositoryConfig,
        *,
        open_model: Callable[[Bundle], Model],
        limits_of: Callable[[Bundle], Limits],
        tasks: Collection[TaskName],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """Make a repository that knows of nothing yet.

        Args:
            models: the folder of models/<name>/<version>/.
            registry: where requests look.
            config: which versions are served.
            open_model: opens a bundle's sessions and warms them up; called beside the event loop.
            limits_of: how much a bundle's model takes on.
            tasks: those that the server's services answer for.
            changed: awaited after every swap; health is told there.
        """
        self._models = models
        self._registry = registry
        self._config = config
        self._opener = Opener(open_model, tasks)
        self._limits_of = limits_of
        self._changed = changed
        self._engine: Engine | None = None
        self._entries: dict[str, Entry] = {}
        self._draining: dict[str, Row] = {}  # by the engine's key
        self._drains: set[asyncio.Task[None]] = set()
        self._at_work: set[asyncio.Future[Any]] = set()
        self._seen: dict[str, str] = {}  # fingerprints of the last scan
        self._one_at_a_time = asyncio.Lock()
        self.canaries = Canaries(registry)

    def attach(self, engine: Engine, found: dict[str, Found]) -> None:
        """Take over what is in the registry and in the engine: all is warm.

        Args:
            engine: it runs.
            found: the folders as they were before they were read.
        """
        self._engine = engine
        self.canaries.attach(engine)
        fingerprints = {one.folder: one.fingerprint for one in found.values()}
        for task in self._registry:
            bundle = task.bundle
            self._opener.note(bundle)
            name, version = bundle.manifest.name, bundle.manifest.version
            fingerprint = fingerprints.get(bundle.folder, "")
            self._entries[bundle.key] = Entry(name, version, State.READY, "", fingerprint, task)
        for canary in self._config.canaries:
            self.canaries.set(canary)

    async def close(self) -> None:
        """End trials; nothing comes or goes any more."""
        self.canaries.close()
        self._engine = None
        ending = [*self._drains, *self._at_work]
        for one in ending:
            one.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def known(self) -> list[Row]:
        """Return every version that was asked for or is still in use, in no order; a collector of metrics may call this."""
        return [*(entry.row() for entry in tuple(self._entries.values())), *tuple(self._draining.values())]

    async def rows(self) -> list[Row]:
        """Return every version that is there or still in use, by name, then latest version first."""
        there = await asyncio.to_thread(scan, self._models)
        others = [Row(one.name, one.version, State.UNLOADED) for key, one in there.items() if key not in self._entries]
        rows = sorted([*self.known(), *others], key=lambda row: version_order(row.version), reverse=True)
        return sorted(rows, key=lambda row: row.name)

    async def load(self, name: str, version: str) -> Row:
        """Load a version, or its new content, at an administrator's word, whatever the policy says of it.

        An administrator who gives up waiting ends nothing: it is loaded all the same.

        Args:
            name: of the model, as its folder has it.
            version: "" is the latest in the folder.

        Raises:
            UnknownModel: there is no such folder.
            Refused: it cannot be served; the message says why.
            Draining: the server is starting or stopping.
        """
        return await self._to_its_end(self._load(name, version))

    async def _load(self, name: str, version: str) -> Row:
        async with self._one_at_a_time:
            self._check_attached()
            found = await asyncio.to_thread(scan, self._models)
            one = _found(found, name, version, self._models)
            known = self._entries.get(one.key)
            opened = None
            if known is None or known.reason or self._stale(one):
                opened = await self._open(one)
            entry = self._entries[one.key]
            if entry.reason:
                raise Refused(f"{one.key} cannot be served: {entry.reason}")
            entry.by_hand = True
            if opened is not None:
                await self._publish({one.key: opened}, ())
            return entry.row()

    async def unload(self, name: str, version: str) -> Row:
        """Take a version out of service at an administrator's word; it is loaded again only so.

        Raises:
            UnknownModel: it is not loaded.
            Refused: only a canary of this name would be left, which answers nobody.
            Draining: the server is starting or stopping.
        """
        _check_given(name, version)
        async with self._one_at_a_time:
            self._check_attached()
            entry = self._entries.get(f"{name}/{version}")
            if entry is None or entry.task is None:
                raise UnknownModel(f"no model {f'{name}/{version}'[:200]!r} is loaded")
            left = {other.key for other in self._served(name)} - {entry.key}
            if left and left <= self.canaries.keys:
                raise Refused(f"{', '.join(left)}: a canary, which would be the only version left; end its trial first")
            row = replace(entry.row(), state=State.DRAINING)
            entry.by_hand = True
            await self._publish({}, (entry.key,), "unloaded by an administrator")
            return row

    async def set_canary(self, name: str, version: str, share: float) -> CanaryFigures:
        """Try a version, loading it where it is not, or change the share of a trial; see `Canaries.set`.

        Raises:
            InvalidRequest: a field is empty, or the share is out of range.
            UnknownModel: there is no such folder.
            Refused: it cannot be served, or no other version of this name is.
            Draining: the server is starting or stopping.
        """
        _check_given(name, version)
        if not 0 <= share <= 1:
            raise InvalidRequest("share", f"{share:g}", "from 0 to 1")
        return await self._to_its_end(self._set_canary(CanaryShare(name, version, share)))

    async def _set_canary(self, canary: CanaryShare) -> CanaryFigures:
        name, version = canary.name, canary.version
        async with self._one_at_a_time:
            self._check_attached()
            if not any(other.version != version for other in self._served(name)):
                raise Refused(f"no other version of {name[:100]} is loaded; a canary needs one that answers")
            entry = self._entries.get(canary.key)
            if entry is None or entry.task is None:
                one = _found(await asyncio.to_thread(scan, self._models), name, version, self._models)
                opened = await self._open(one)
                if opened is None:
                    raise Refused(f"{one.key} cannot be served: {self._entries[one.key].reason}")
                self._registry.set_aside(self.canaries.keys | {one.key})  # it never answers who does not name it
                self._entries[one.key].by_hand = True
                await self._publish({one.key: opened}, ())
            return self.canaries.set(canary)

    async def sync(self) -> None:
        """Look at the folder once: load what came or changed, and unload what went or what the policy replaces by it.

        What has changed since the last look is still being written, and is left for the next one. What failed is not tried again
        before it changes, and what it would have replaced stays.
        """
        found = await asyncio.to_thread(scan, self._models)
        async with self._one_at_a_time:
            if self._engine is None or not found:  # a mount that is gone takes no model with it
                return
            settled = {
                key: one for key, one in found.items() if self._seen.get(key, one.fingerprint) == one.fingerprint
            }
            new = {key for key in found if key not in self._seen and self._stale(found[key])}
            self._seen = {key: one.fingerprint for key, one in found.items()}
            for key in [key for key in self._entries if key not in found]:
                if self._entries[key].task is None:
                    del self._entries[key]  # failed or unloaded, and gone: a new folder of this name is another matter
            names = {one.name for one in found.values()} | {entry.name for entry in self._entries.values()}
            for name in sorted(names):
                there = {one.version: one for one in found.values() if one.name == name}
                ready = {one.version: one for key, one in settled.items() if one.name == name and key not in new}
                await self._sync(name, there, ready)

    # ---- one name

    async def _sync(self, name: str, there: dict[str, Found], settled: dict[str, Found]) -> None:
        """Bring a model in line with its folder and the policy.

        Args:
            name: of the model.
            there: by version.
            settled: those of them that are not being written.
        """
        opened: dict[str, Opened] = {}
        while True:
            wanted = self._wanted(name, there, settled)
            missing = [
                version
                for version in sorted(wanted, key=version_order)
                if version in settled and f"{name}/{version}" not in opened and self._stale(settled[version])
            ]
            if not missing:
                break
            one = settled[missing[0]]
            new = await self._open(one)
            if new is not None:
                opened[one.key] = new
        served = self._served(name)
        leaving = [entry for entry in served if entry.version not in wanted]
        left = {entry.key for entry in served if entry not in leaving} | opened.keys()
        ordinary = [entry for entry in leaving if entry.key not in self.canaries.keys]
        if ordinary and left <= self.canaries.keys:
            kept = max(ordinary, key=lambda entry: version_order(entry.version))
            leaving.remove(kept)
            if not kept.reason:
                kept.reason = "its folder is gone; still served, for it is the last version of its name"
                logger.warning("%s: %s", kept.key, kept.reason)
        if opened or leaving:
            await self._publish(opened, [entry.key for entry in leaving])

    def _wanted(self, name: str, there: dict[str, Found], settled: dict[str, Found]) -> set[str]:
        """Return the versions of a model to be served, as far as is known: without those that failed."""
        by_hand = {entry.version for entry in self._entries.values() if entry.name == name and entry.by_hand}
        possible = {version for version in there if version not in by_hand and self._possible(there[version], settled)}
        served = {version for version in by_hand if self._entries[f"{name}/{version}"].task is not None}
        aside = {version for version in possible if f"{name}/{version}" in self.canaries.keys}
        return self._config.versions.choose(name, possible - aside) | aside | served

    def _served(self, name: str) -> list[Entry]:
        return [entry for entry in self._entries.values() if entry.name == name and entry.task is not None]

    def _possible(self, one: Found, settled: dict[str, Found]) -> bool:
        """Say whether a version is served, or may be once it is opened."""
        entry = self._entries.get(one.key)
        if entry is not None and entry.task is not None:
            return True
        failed = entry is not None and entry.state is State.FAILED and entry.fingerprint == one.fingerprint
        return one.version in settled and not failed

    def _stale(self, one: Found) -> bool:
        """Say whether a folder holds what has not been read yet, or is not loaded."""
        entry = self._entries.get(one.key)
        return entry is None or entry.fingerprint != one.fingerprint or entry.task is None

    # ---- one version

    async def _open(self, one: Found) -> Opened | None:
        """Open a version beside the event loop; None where it is bad, which its entry tells, or what is served already."""
        entry = self._entries.setdefault(one.key, Entry(one.name, one.version, State.LOADING))
        entry.fingerprint = one.fingerprint
        served = entry.task
        if served is None:
            entry.state, entry.reason = State.LOADING, ""
        others = {
            other.task.bundle.manifest.task
            for other in self._entries.values()
            if other.name == one.name and other.version != one.version and other.task is not None
        }
        content = "" if served is None else served.bundle.content
        began = time.monotonic()
        try:
            opened = await asyncio.to_thread(self._opener.open, one, others, content)
        except Exception as error:
            reason = str(error) if isinstance(error, BeamstepError) else f"{type(error).__name__}: {error}"
            if served is None:
                entry.state, entry.reason = State.FAILED, reason
                logger.error("%s cannot be served: %s", one.key, reason)  # noqa: TRY400 - a sentence for the operator
            else:
                entry.reason = f"its folder holds other content now, which cannot be served: {reason}"
                logger.error("%s: %s", one.key, entry.reason)  # noqa: TRY400
            return None
        entry.reason = ""
        if opened is not None:
            logger.info("loaded %s in %.2f s", one.key, time.monotonic() - began)
        return opened

    async def _publish(self, opened: dict[str, Opened], leaving: Iterable[str], reason: str = "") -> None:
        """Let what was opened answer from now on, and what leaves answer nobody new."""
        self._check_attached()
        assert self._engine is not None
        removed: list[Task] = []
        for key in leaving:
            entry = self._entries[key]
            assert entry.task is not None
            removed.append(entry.task)
            entry.task, entry.state, entry.reason = None, State.UNLOADED, reason
            entry.fingerprint = ""
        for key, (task, model) in opened.items():
            entry = self._entries[key]
            if entry.task is not None:
                removed.append(entry.task)
            entry.task, entry.state, entry.reason = task, State.READY, ""
            lane = task.bundle.lane
            if lane in self._engine.models:  # the same content again, while its last calls are answered
                self._draining.pop(lane, None)
                self._engine.retire(lane)
            self._engine.add(lane, model, limits=self._limits_of(task.bundle))
        self._registry.swap([task for task, _ in opened.values()], removed)
        self.canaries.end(removed)
        for task in removed:
            bundle = task.bundle
            logger.info("%s is no longer served; calls that were taken are answered", bundle.lane)
            row = Row(bundle.manifest.name, bundle.manifest.version, State.DRAINING, "", bundle.content)
            self._draining[bundle.lane] = row
            drain = asyncio.ensure_future(self._drain(bundle.lane, row, last_use(task)))
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)
        await self._changed()

    async def _drain(self, lane: str, row: Row, last_use: asyncio.Event) -> None:
        """Wait until nobody can ask for a model any more, let its requests finish, and let it go."""
        wait_s = CYCLES_S
        while not last_use.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(last_use.wait(), wait_s)
                break
            gc.collect()
            wait_s *= 2
        if self._draining.get(lane) is not row or self._engine is None:
            return  # it was retired already, for the same content came again
        await asyncio.wrap_future(self._engine.retire(lane))
        if self._draining.get(lane) is row:
            del self._draining[lane]
        logger.info("%s is gone", lane)

    async def _to_its_end(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for work that goes on when whoever waits for it does not."""
        task = asyncio.ensure_future(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        task.add_done_callback(
            lambda over: over.cancelled() or over.exception()
        )  # its entry tells it, should nobody wait
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Draining("the server is shutting down; retry elsewhere") from None
            raise

    def _check_attached(self) -> None:
        if self._engine is None:
            raise Draining("the server is loading its models, or stopping; retry in a moment")


def _check_given(name: str, version: str) -> None:
    for field, given in (("name", name), ("version", version)):
        if not given:
            raise InvalidRequest(field, "empty", "what ListRepository gives")


def _found(found: dict[str, Found], name: str, version: str, models: Path) -> Found:
    """Return the folder that an administrator means."""
    if not name:
        raise InvalidRequest("name", "empty", "what ListRepository gives")
    versions = sorted((one.version for one in found.values() if one.name == name), key=version_order)
    wanted = version or (versions[-1] if versions else "")
    if wanted not in versions:
        there = f"of {name[:100]} there are {', '.join(versions)}" if versions else f"there is no {name[:100]!r}"
        raise UnknownModel(f"no version {wanted[:100]!r} in {models}: {there}" if versions else f"{models}: {there}")
    return found[f"{name}/{wanted}"]
