"""`beamstep token` makes tokens that a server takes, and says what it was given and what is allowed."""

from datetime import date

import pytest
import typer
from typer.testing import CliRunner

from serving.access.command import token
from serving.access.tokens import TokenLimits, find, read_tokens

app = typer.Typer()
app.command()(token)


@pytest.fixture
def run(tmp_path):
    def invoke(*arguments: str):
        return CliRunner().invoke(app, [*arguments, "--file", str(tmp_path / "tokens.toml")])

    return invoke


def test_a_token_is_made_listed_and_revoked(run, tmp_path):
    path = tmp_path / "tokens.toml"
    limits = ("--rate", "50", "--burst", "100", "--concurrent", "8")
    made = run("web", "--services", "translation, pointing", *limits, "--expires", "2126-01-31")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert secret not in path.read_text()
    (entry,) = read_tokens(path)
    assert find([entry], secret) == entry
    assert (entry.name, entry.services) == ("web", ("translation", "pointing"))
    assert (entry.limits, entry.expires) == (TokenLimits(50, 100, 8), date(2126, 1, 31))
    assert run("ops", "--services", "all").exit_code == 0
    assert run("--list").stdout.splitlines() == [
        "web\ttranslation,pointing\trate 50 burst 100\tconcurrent 8\texpires after 2126-01-31",
        "ops\tall",
    ]
    assert run("--revoke", "web").exit_code == 0
    assert [token.name for token in read_tokens(path)] == ["ops"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "arguments: several or none; allowed: one of NAME, --list, --revoke NAME"),
        (("web", "--list"), "arguments: several"),
        (("web",), "services: none; allowed: translation"),
        (("web", "--services", "translate"), "services: translate; allowed: translation"),
        (("old", "--services", "all"), "name: old, which has a token already"),
        (("web", "--services", "all", "--burst", "5"), "burst: 5; allowed: only beside a rate"),
        (("web", "--services", "all", "--rate", "0"), "rate: 0.0; allowed"),
        (("web", "--services", "all", "--expires", "2020-01-31"), "expires: 2020-01-31; allowed: from today"),
        (("--revoke", "web"), "revoke: web; allowed: old"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(run, tmp_path, arguments, message):
    assert run("old", "--services", "all").exit_code == 0
    before = (tmp_path / "tokens.toml").read_text()
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert (tmp_path / "tokens.toml").read_text() == before


def test_a_broken_file_is_left_as_it_is(run, tmp_path):
    (tmp_path / "tokens.toml").write_text("[[token")
    done = run("web", "--services", "all")
    assert done.exit_code == 2
    assert "not TOML" in done.stderr
    assert (tmp_path / "tokens.toml").read_text() == "[[token"


def test_a_list_of_no_file_and_a_file_in_no_folder_are_errors(run, tmp_path):
    assert "No such file" in run("--list").stderr
    done = CliRunner().invoke(app, ["web", "--services", "all", "--file", str(tmp_path / "none" / "t.toml")])
    assert done.exit_code == 2
    assert "No such file or directory; allowed: a file that can be written" in done.stderr
