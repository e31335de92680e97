"""Which versions are served, and which words say so."""

import pytest

from serving.config import ServerConfig
from serving.errors import BadConfiguration
from serving.repository.canary import CanaryFigures, falls_on
from serving.repository.config import CanaryShare, RepositoryConfig
from serving.repository.policy import VersionPolicy

VERSIONS = {"1", "2", "10", "2-rc"}


@pytest.mark.parametrize(
    ("policy", "name", "chosen"),
    [
        ("all", "a", VERSIONS),
        ("latest:1", "a", {"10"}),
        ("latest:2", "a", {"10", "2-rc"}),
        ("latest:9", "a", VERSIONS),
        ("specific:a=1,2;b=3", "a", {"1", "2"}),
        ("specific:a=1,7", "a", {"1"}),
        ("specific:b=3", "a", VERSIONS),
    ],
)
def test_versions_are_chosen_by_the_policy(policy, name, chosen):
    assert VersionPolicy.parse(policy).choose(name, VERSIONS) == chosen


@pytest.mark.parametrize(
    "given", ["", "latest", "latest:0", "latest:-1", "latest:x", "specific:", "specific:a", "specific:=1", "some"]
)
def test_what_is_no_policy_is_refused(given):
    with pytest.raises(BadConfiguration, match=r"versions: .*; allowed: all, latest:N"):
        VersionPolicy.parse(given)


def test_a_missing_specific_name_or_version_is_named():
    policy = VersionPolicy.parse("specific:a=3")
    policy.check({"a": ["3"]})
    with pytest.raises(BadConfiguration, match="versions: a=3; allowed: some of 1, 2"):
        policy.check({"a": ["2", "1"]})
    with pytest.raises(BadConfiguration, match="versions: a; allowed: some of b"):
        policy.check({"b": ["3"]})


def test_a_canary_stands_beside_what_the_policy_chooses():
    config = RepositoryConfig(VersionPolicy(latest=1), canaries=(CanaryShare.parse("a/10=0.25"),))
    assert config.chosen("a", set(VERSIONS)) == {"2-rc", "10"}
    assert config.chosen("b", set(VERSIONS)) == {"10"}


@pytest.mark.parametrize(
    "given", ["a", "a=0.1", "a/2", "a/2=", "a/2=x", "a/2=nan", "/2=0.1", "a/=0.1", "a/2=1.1", "a/2=-1"]
)
def test_what_is_no_canary_is_refused(given):
    with pytest.raises(BadConfiguration, match=r"canary: .*; allowed: "):
        CanaryShare.parse(given)


def test_bad_settings_name_themselves(tmp_path):
    with pytest.raises(BadConfiguration, match=r"watch_interval_s: 0; allowed: from 0.1"):
        RepositoryConfig(watch_interval_s=0)
    twice = (CanaryShare("a", "1", 0.1), CanaryShare("a", "2", 0.1))
    with pytest.raises(BadConfiguration, match="canary: a is given twice"):
        RepositoryConfig(canaries=twice)
    assert not ServerConfig(tmp_path).repository.changes


def test_a_share_falls_on_as_many_requests_and_always_on_the_same():
    figures = CanaryFigures("a", "2", 0.3)
    fallen = [number for number in range(2000) if falls_on(figures, f"request {number}")]
    assert 500 < len(fallen) < 700
    assert fallen == [number for number in range(2000) if falls_on(figures, f"request {number}")]
    assert all(falls_on(CanaryFigures("a", "2", 1.0), str(number)) for number in range(100))
    assert not any(falls_on(CanaryFigures("a", "2", 0.0), str(number)) for number in range(100))


def test_figures_compare_token_by_token():
    figures = CanaryFigures("a", "2", 1.0)
    assert figures.agreement is None
    assert figures.token_agreement is None
    figures.compare(["x", "y", "</s>"], ["x", "y", "</s>"])
    figures.compare(["x", "y", "</s>"], ["x", "z", "y", "</s>"])
    figures.compare(["x"], [])
    assert (figures.compared, figures.identical, figures.same_tokens, figures.tokens) == (3, 1, 4, 8)
    assert figures.agreement == pytest.approx(1 / 3)
    assert figures.token_agreement == 0.5
