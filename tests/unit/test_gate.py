"""The gate: who comes in, how often, how many at a time, and what a new file changes."""

import logging
import os
from datetime import date

import pytest

from serving.access.gate import LOOK_S, REFUSAL, Gate
from serving.access.tokens import Token, TokenLimits, hash_of, write_tokens
from serving.errors import Forbidden, Overloaded, Unauthenticated

TRANSLATE = "/beamstep.v1.TranslationService/TranslateText"
LIST = "/beamstep.v1.ModelService/ListModels"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
HEALTH = "/grpc.health.v1.Health/Check"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(tmp_path, clock):
    """Make a gate of entries; its file is tokens.toml."""

    def make(*tokens: Token, today: date = date(2026, 11, 25)) -> Gate:
        write_tokens(tmp_path / "tokens.toml", tokens)
        return Gate(tmp_path / "tokens.toml", clock, lambda: today)

    return make


def entry(name: str = "web", *services: str, **options) -> Token:
    limits = TokenLimits(**options.pop("limits", {}))
    return Token(name, hash_of(f"bst_{name}"), services or ("translation",), limits, **options)


def error_of(gate: Gate, method: str, authorization: str | None) -> Exception | None:
    return gate.judge(method, authorization).error


def test_a_token_lets_in_what_it_has_the_right_to(gate):
    door = gate(entry())
    verdict = door.judge(TRANSLATE, "Bearer bst_web")
    assert (verdict.error, verdict.principal) == (None, "web")
    assert error_of(door, TRANSLATE, "bearer  bst_web ") is None
    error = error_of(door, LIST, "Bearer bst_web")
    assert isinstance(error, Forbidden)
    assert str(error) == "the token web lacks the right to models"
    assert door.judge(LIST, "Bearer bst_web").principal == "web"
    assert isinstance(error_of(door, REFLECT, "Bearer bst_web"), Forbidden)
    assert error_of(gate(entry("web", "all")), REFLECT, "Bearer bst_web") is None


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", "Bearer bst_wec", "bst_web", "Basic bst_web", f"Bearer {hash_of('bst_web')}"],
)
def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(gate, given):
    door = gate(entry())
    for method in (TRANSLATE, LIST, REFLECT, "/no.Such/Method"):
        verdict = door.judge(method, given)
        assert isinstance(verdict.error, Unauthenticated)
        assert (str(verdict.error), verdict.principal) == (REFUSAL, "")


def test_health_is_open(gate):
    assert error_of(gate(), HEALTH, None) is None


def test_a_token_is_good_through_its_last_day(gate):
    web = entry(expires=date(2026, 11, 25))
    assert error_of(gate(web), TRANSLATE, "Bearer bst_web") is None
    error = error_of(gate(web, today=date(2026, 11, 26)), TRANSLATE, "Bearer bst_web")
    assert isinstance(error, Unauthenticated)
    assert "expired after 2026-11-25" in str(error)


def test_the_bucket_of_calls_fills_up_at_its_rate(gate, clock):
    door = gate(entry(limits={"rate": 2.0, "burst": 3}), entry("other"))
    assert [error_of(door, TRANSLATE, "Bearer bst_web") for _ in range(3)] == [None] * 3
    error = error_of(door, TRANSLATE, "Bearer bst_web")
    assert isinstance(error, Overloaded)
    assert error.retry_after_s == pytest.approx(0.5)
    assert error_of(door, TRANSLATE, "Bearer bst_other") is None, "others' limits are their own"
    clock.now += error.retry_after_s
    assert error_of(door, TRANSLATE, "Bearer bst_web") is None
    assert error_of(door, TRANSLATE, "Bearer bst_web") is not None
    clock.now += 3600
    assert sum(error_of(door, TRANSLATE, "Bearer bst_web") is None for _ in range(10)) == 3, "a rest saves no more"


def test_a_rate_below_one_call_a_second_lets_calls_through(gate, clock):
    door = gate(entry(limits={"rate": 0.1}))
    assert error_of(door, TRANSLATE, "Bearer bst_web") is None
    error = error_of(door, TRANSLATE, "Bearer bst_web")
    assert isinstance(error, Overloaded)
    assert error.retry_after_s == pytest.approx(10)


def test_calls_at_a_time(gate):
    door = gate(entry(limits={"concurrent": 1}))
    first, second = (door.judge(TRANSLATE, "Bearer bst_web") for _ in range(2))
    with first.running():
        with pytest.raises(Overloaded, match="1 calls at a time") as caught, second.running():
            pass
        assert caught.value.retry_after_s
    with second.running():
        pass


def rewrite(path, text: str) -> None:
    path.write_text(text)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))  # clocks of file systems can be coarse


def test_a_new_file_is_taken_within_a_second_and_a_broken_one_never(gate, clock, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / "tokens.toml"
    door = gate(entry(limits={"rate": 1.0, "burst": 2}))
    assert error_of(door, TRANSLATE, "Bearer bst_web") is None
    rewrite(path, "[[token]]\nname = 5")
    clock.now += LOOK_S
    assert error_of(door, LIST, "Bearer bst_web") is not None
    assert "the ones before go on: tokens: " in caplog.text
    write_tokens(path, [entry(limits={"rate": 1.0, "burst": 1}), entry("new")])
    assert isinstance(error_of(door, TRANSLATE, "Bearer bst_new"), Unauthenticated), "looked at once a second"
    clock.now += LOOK_S
    assert error_of(door, TRANSLATE, "Bearer bst_new") is None
    assert error_of(door, TRANSLATE, "Bearer bst_web") is None
    assert isinstance(error_of(door, TRANSLATE, "Bearer bst_web"), Overloaded), "the smaller burst holds at once"
    write_tokens(path, [entry("new")])
    clock.now += LOOK_S
    assert isinstance(error_of(door, TRANSLATE, "Bearer bst_web"), Unauthenticated), "revoked"
    path.unlink()
    clock.now += LOOK_S
    assert error_of(door, TRANSLATE, "Bearer bst_new") is None
