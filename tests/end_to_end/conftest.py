"""Servers of all five tasks on a real socket: one whose models are planned (tests/fakes), one of the shipped bundles.

And the toy, trained once.
"""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from beamstep.cli import app
from serving.config import ServerConfig
from serving.session import OnnxModel, SessionConfig
from tests.fakes.bundles import write_bundle
from tests.fakes.planned import PlannedModel, open_planned
from tests.fakes.stubs import Stubs
from tests.fakes.threads import ServerThread

SHIPPED = Path(__file__).parents[2] / "models"
TASKS = ("translation", "captioning", "convex_hull", "delaunay", "tour")


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    """The folder of a run of the packaged toy, trained as its recipe says by the command itself."""
    run = tmp_path_factory.mktemp("toy")
    done = CliRunner().invoke(app, ["train", "reverse", "--run", str(run), "--threads", "1"])
    assert done.exit_code == 0, done.output
    return run


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


@pytest.fixture(scope="module")
def stubs(server) -> Iterator[Stubs]:
    """The planned server as a client sees it that knows only the protos."""
    with grpc.insecure_channel(server.address) as channel:
        yield Stubs(channel)


@pytest.fixture(scope="session")
def shipped_models() -> Path:
    return SHIPPED


@pytest.fixture(scope="session")
def shipped_server() -> Iterator[ServerThread]:
    config = ServerConfig(
        SHIPPED,
        host="127.0.0.1",
        port=0,
        preferred=("translation-en-de",),
        session=SessionConfig(step_threads=1, spinning=False),
    )
    with ServerThread(config, OnnxModel) as thread:
        yield thread


@pytest.fixture(scope="session")
def shipped(shipped_server) -> Iterator[Stubs]:
    """The shipped bundles on ONNX Runtime, called as `stubs` are."""
    with grpc.insecure_channel(shipped_server.address) as channel:
        yield Stubs(channel)
