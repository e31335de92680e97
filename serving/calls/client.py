"""Whom a call is for, as far as sharing a busy model goes."""

from urllib.parse import unquote

from serving.calls.call import CURRENT, LONGEST_ID, Call


def current_client(share_by: str) -> str:
    """Return whom the current call is for; "" outside of calls."""
    call = CURRENT.get()
    return "" if call is None else client_of(call, share_by)


def client_of(call: Call, share_by: str) -> str:
    """Return whom a call is for.

    Args:
        call: it.
        share_by: the metadata key that says so; "" trusts none.

    Returns:
        the metadata's value, or the name of the call's token, or the peer's address without its port; each with what it is in
        front, so that none can pass for another.
    """
    named = call.metadata.get(share_by, "") if share_by else ""
    if named:
        return f"{share_by} {named[:LONGEST_ID]}"
    return f"token {call.principal}" if call.principal else f"peer {_host(call.peer)}"


def _host(peer: str) -> str:
    """Return the address in "ipv4:10.0.0.1:52100", "ipv6:%5B::1%5D:52100" or "unix:/path", as gRPC writes them."""
    kind, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0] if kind in {"ipv4", "ipv6"} else peer
