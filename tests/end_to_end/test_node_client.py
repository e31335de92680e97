"""A client in another language gets translations from the protos alone: examples/node against a real socket."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NODE = shutil.which("node")
NPM = shutil.which("npm")

pytestmark = pytest.mark.skipif(NODE is None or NPM is None, reason="Node and npm are not installed")


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    """The example beside the protos, its pinned packages installed, and nothing else of the project."""
    root = tmp_path_factory.mktemp("node")
    shutil.copytree(REPOSITORY / "protos", root / "protos")
    folder = root / "examples" / "node"
    shutil.copytree(REPOSITORY / "examples" / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install the example's packages: {installed.stderr.strip()[-300:]}")
    return folder


def run(example: Path, *words: str, script: str = "translate.mjs") -> "subprocess.CompletedProcess[str]":
    command = ["node", script, *words]
    return subprocess.run(command, cwd=example, capture_output=True, text=True, timeout=60, check=False)


def test_node_translates_from_the_protos_alone(example, server):
    result = run(example, "ein hund läuft", server.address)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "ein hund läuft\n"
    assert result.stderr.startswith("translation 2, score -")


def test_node_prints_what_is_certain_while_the_rest_is_still_open(example, server, opened):
    opened["translation/2"].step_s = 0.2
    command = ["node", "stream.mjs", "ein hund läuft", server.address]
    try:
        with subprocess.Popen(
            command, cwd=example, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.read(3) == "ein"
            assert process.poll() is None
            assert process.stdout.read() == " hund läuft\n"
            assert process.stderr.read().startswith("translation 2, score -")
        assert process.returncode == 0
    finally:
        opened["translation/2"].step_s = 0.0


@pytest.mark.parametrize("script", ["translate.mjs", "stream.mjs"])
def test_node_is_told_which_field_is_wrong(example, server, script):
    result = run(example, " ", server.address, script=script)
    assert result.returncode == 1
    assert "INVALID_ARGUMENT: text: 1 characters of white space" in result.stderr


@pytest.mark.parametrize("script", ["translate.mjs", "stream.mjs"])
def test_node_says_when_no_server_answers(example, script):
    result = run(example, "ein hund", "127.0.0.1:1", script=script)
    assert result.returncode == 1
    assert "127.0.0.1:1: UNAVAILABLE" in result.stderr
