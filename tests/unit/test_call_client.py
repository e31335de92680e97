"""Whom a call is for: what its metadata says, its token, or where it comes from."""

import pytest

from serving.calls.call import CURRENT, Call
from serving.calls.client import client_of, current_client


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:10.0.0.7:52100", "peer 10.0.0.7"),
        ("ipv6:%5B2001:db8::1%5D:52100", "peer [2001:db8::1]"),
        ("ipv6:[::1]:52100", "peer [::1]"),
        ("unix:/run/beamstep.sock", "peer unix:/run/beamstep.sock"),
        ("", "peer "),
    ],
)
def test_without_more_it_is_the_address_whatever_the_port(peer, client):
    assert client_of(Call("/s/M", {"x-client-id": "me"}, peer), "") == client


def test_a_token_comes_before_the_address_and_metadata_before_both():
    call = Call("/s/M", {"x-client-id": "me"}, "ipv4:10.0.0.7:1", principal="shop")
    assert client_of(call, "") == "token shop"
    assert client_of(call, "x-client-id") == "x-client-id me"
    assert client_of(call, "x-other") == "token shop"


def test_a_name_cannot_pass_for_a_token_or_an_address_and_is_not_kept_at_any_length():
    call = Call("/s/M", {"x-client-id": "token shop", "x-long": "a" * 5000}, "ipv4:10.0.0.7:1")
    assert client_of(call, "x-client-id") == "x-client-id token shop"
    assert len(client_of(call, "x-long")) < 200


def test_outside_of_calls_it_is_nobody():
    assert current_client("x-client-id") == ""
    token = CURRENT.set(Call("/s/M", {}, "ipv4:10.0.0.7:1"))
    try:
        assert current_client("") == "peer 10.0.0.7"
    finally:
        CURRENT.reset(token)
