"""`beamstep admin` against a server whose models are planned."""

import json

import pytest
from typer.testing import CliRunner

from beamstep.cli import app
from serving.config import ServerConfig
from serving.repository.config import RepositoryConfig
from serving.session import SessionConfig
from tests.fakes import repository as fakes
from tests.fakes.repository import REVERSED, Shop, open_described
from tests.fakes.threads import ServerThread


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path / "models", tmp_path)


@pytest.fixture
def beamstep(shop):
    """Run the command against a server with --admin; return its exit status and what it printed."""
    shop.publish("1")
    config = ServerConfig(
        shop.models,
        host="127.0.0.1",
        port=0,
        session=SessionConfig(step_threads=1),
        repository=RepositoryConfig(admin=True),
    )
    with ServerThread(config, open_described) as server:

        def run(*arguments: str) -> tuple[int, str]:
            done = CliRunner().invoke(app, [*arguments, "--address", server.address])
            return done.exit_code, done.output

        yield run


def test_versions_are_listed_loaded_and_unloaded(shop, beamstep):
    assert beamstep("admin", "load", "translation") == (0, "translation/1 is ready\n")
    bad = shop.make("translation", "translation", "3")
    fakes.truncate(bad)
    shop.rename_into_place(bad)
    shop.publish("2", description=REVERSED)
    assert beamstep("admin", "load", "translation/2") == (0, "translation/2 is ready\n")
    status, told = beamstep("admin", "load", "translation/3")
    assert status == 1
    assert "translation/3 cannot be served" in told
    assert "truncated or altered" in told
    status, told = beamstep("admin", "load", "translation/9")
    assert status == 2
    assert "of translation there are 1, 2, 3" in told
    assert beamstep("admin", "unload", "translation/1") == (0, "translation/1 is draining\n")
    status, told = beamstep("admin", "status", "--json")
    states = {f"{one['name']}/{one['version']}": one["state"] for one in json.loads(told)["models"]}
    assert states.pop("translation/1") in {"MODEL_STATE_DRAINING", "MODEL_STATE_UNLOADED"}
    assert states == {"translation/3": "MODEL_STATE_FAILED", "translation/2": "MODEL_STATE_READY"}
    status, told = beamstep("admin", "status")
    assert [line.split()[:2] for line in told.splitlines() if line.split()[0] == "translation/2"] == [
        ["translation/2", "ready"]
    ]


def test_a_version_is_tried_and_promoted(shop, beamstep):
    shop.publish("2", description=REVERSED)
    assert beamstep("admin", "canary")[1] == "note: no version is on trial\n"
    status, told = beamstep("admin", "canary", "translation/2=0.5")
    assert status == 0
    assert told.startswith("translation/2 decodes 50% of the requests of translation a second time: 0 so far")
    for wrong in ("translation/2", "translation/2=much", "translation/2=7"):
        status, told = beamstep("admin", "canary", wrong)
        assert status == 2
        assert "allowed: " in told
    assert beamstep("translate", "ein hund")[1].startswith("ein hund")
    assert beamstep("admin", "canary", "--end", "translation")[0] == 0
    assert not beamstep("translate", "ein hund")[1].startswith("ein hund")
    assert beamstep("admin", "canary", "--end", "translation")[0] == 2
