"""A server of all five tasks on a real socket, its models planned (tests/fakes)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.config import ServerConfig
from serving.session import SessionConfig
from tests.fakes.bundles import write_bundle
from tests.fakes.planned import PlannedModel, open_planned
from tests.fakes.threads import ServerThread

TASKS = ("translation", "captioning", "convex_hull", "delaunay", "tour")


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for task in TASKS:
        write_bundle(folder, task)
    write_bundle(folder, "translation", version="2")
    return folder


@pytest.fixture(scope="module")
def opened() -> dict[str, PlannedModel]:
    """The models of `server` by key."""
    return {}


@pytest.fixture(scope="module")
def server(models, opened) -> Iterator[ServerThread]:
    def open_model(bundle, session):
        opened[bundle.key] = open_planned(bundle, session)
        return opened[bundle.key]

    config = ServerConfig(models, host="127.0.0.1", port=0, session=SessionConfig(step_threads=1))
    with ServerThread(config, open_model) as thread:
        yield thread
