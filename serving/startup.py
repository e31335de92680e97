"""What a server begins with: the bundles that its options choose, and whether they fit together."""

from collections.abc import Callable, Sequence
from pathlib import Path

from serving.bundle import Bundle, find_bundles, load_bundle
from serving.config import SERVICE_TASKS
from serving.errors import BadBundle, BadConfiguration
from serving.repository.config import RepositoryConfig
from serving.scheduler import Limits


def load_bundles(models: Path, repository: RepositoryConfig) -> list[Bundle]:
    """Read and check the versions that are to be served."""
    folders = find_bundles(models)
    there: dict[str, set[str]] = {}
    for folder in folders:
        there.setdefault(folder.parent.name, set()).add(folder.name)
    repository.versions.check(there)
    chosen = [
        folder for folder in folders if folder.name in repository.chosen(folder.parent.name, there[folder.parent.name])
    ]
    bundles = [load_bundle(folder) for folder in chosen]
    for bundle in bundles if repository.changes else ():
        if bundle.key != f"{bundle.folder.parent.name}/{bundle.folder.name}":
            raise BadBundle(f"{bundle.folder}: its manifest says that it is {bundle.key}")
    return bundles


def check_canaries(bundles: Sequence[Bundle], repository: RepositoryConfig) -> None:
    """Check that every canary is there, and a version beside it that answers."""
    keys = [bundle.key for bundle in bundles]
    for canary in repository.canaries:
        if canary.key not in keys:
            raise BadConfiguration(f"canary: {canary.key}; allowed: some of {', '.join(keys)}")
        if not any(key.startswith(f"{canary.name}/") and key != canary.key for key in keys):
            raise BadConfiguration(
                f"canary: {canary.key} is the only version of {canary.name}; allowed: beside another one"
            )


def choose_services(
    bundles: Sequence[Bundle], asked: Sequence[str] | None, models: Path, *, may_come: bool
) -> tuple[list[Bundle], tuple[str, ...]]:
    """Return the bundles to load and the services they make possible, or those that were asked for.

    `may_come` says whether a service that was asked for may wait for its first bundle.
    """
    tasks = {bundle.manifest.task for bundle in bundles}
    possible = tuple(service for service, needed in SERVICE_TASKS.items() if tasks.intersection(needed))
    services = possible if asked is None else tuple(asked)
    for service in services:
        if service not in possible and not may_come:
            needed = " or ".join(SERVICE_TASKS[service])
            raise BadConfiguration(
                f"services: {service}: {models} has no {needed} bundle; it has {', '.join(possible)}"
            )
    wanted = {task for service in services for task in SERVICE_TASKS[service]}
    return [bundle for bundle in bundles if bundle.manifest.task in wanted], services


def check_beams(bundles: Sequence[Bundle], limits_of: Callable[[Bundle], Limits]) -> None:
    """Check that a batch has room for the widest beam that each model allows."""
    for bundle in bundles:
        beam_size, rows = bundle.manifest.limits.beam_size, limits_of(bundle).batch_rows
        if beam_size > rows:
            raise BadConfiguration(
                f"max_rows: {rows}; allowed: from {beam_size}, the beam size that {bundle.key} allows"
            )
