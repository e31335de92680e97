"""What an operator says of load is checked before anything is served."""

import pytest

from serving.errors import BadConfiguration
from serving.load import LoadConfig, cache_bytes, parse_limits
from serving.scheduler import Limits


def test_limits_of_one_model_replace_the_servers_and_leave_the_rest():
    given = parse_limits(["a:max_rows=64,queue=32", "b: max_concurrent = 3"])
    config = LoadConfig(model_limits=given)
    server = Limits(waiting_requests=5, batch_rows=6, batch_sources=7)
    assert config.limits_of("a", server) == Limits(32, 64, 7)
    assert config.limits_of("b", server) == Limits(5, 6, 3)
    assert config.limits_of("c", server) == server


@pytest.mark.parametrize(
    "given",
    ["a", "a:", ":queue=1", "a:queue", "a:queue=0", "a:queue=-1", "a:queue=x", "a:rows=1", "a:queue=1,", "a:queue=١"],
)
def test_what_is_no_limit_is_refused_with_what_is_allowed(given):
    with pytest.raises(BadConfiguration) as caught:
        parse_limits([given])
    assert str(caught.value) == (
        f"limits: {given}; allowed: NAME:LIMIT=NUMBER[,...], a limit being one of max_rows, max_concurrent, queue and a number"
        " from 1"
    )


@pytest.mark.parametrize("given", [["a:queue=1", "a:max_rows=2"], ["a:queue=1,queue=2"]])
def test_nothing_is_said_twice(given):
    with pytest.raises(BadConfiguration, match="each model once"):
        parse_limits(given)


def test_limits_for_a_model_that_is_not_there_are_refused():
    config = LoadConfig(model_limits=parse_limits(["a:queue=1", "c:queue=1"]))
    with pytest.raises(BadConfiguration, match="limits: c; allowed: some of a, b"):
        config.check_names(["a", "a", "b"])


@pytest.mark.parametrize("key", ["X-Client", "x client", "x-client-bin", "ä"])
def test_a_key_that_metadata_cannot_have_is_refused(key):
    with pytest.raises(BadConfiguration, match=f"share_by: {key}"):
        LoadConfig(share_by=key)


def test_sizes_of_caches():
    assert cache_bytes("answer_cache_mb", 0.5) == 2**19
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(BadConfiguration, match="answer_cache_mb"):
            cache_bytes("answer_cache_mb", wrong)
