"""Where a client's channel goes and how it retries."""

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

DEFAULT_ADDRESS: Final = "localhost:50051"
DEFAULT_TIMEOUT_S: Final = 60.0
TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]*")
ANSWER_BYTES: Final = 64 * 2**20
"""The largest answer taken: attention of many hypotheses over many points outgrows gRPC's own limit of 4 MiB."""


@dataclass(frozen=True)
class RetryPolicy:
    """How a call that fails with UNAVAILABLE is tried again, by gRPC itself and within the call's timeout.

    Attributes:
        attempts: how often in all, from 1 (no retry) to gRPC's own limit of 5.
        first_backoff_s: the wait before the second attempt, which gRPC varies by a fifth; it doubles for each further one.
        most_backoff_s: it grows no further than this.
    """

    attempts: int = 4
    first_backoff_s: float = 0.2
    most_backoff_s: float = 5.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 5:
            raise ValueError(f"attempts: {self.attempts}; allowed: from 1 to 5")
        if not 0 < self.first_backoff_s <= self.most_backoff_s:
            raise ValueError(f"first_backoff_s: {self.first_backoff_s}; allowed: above 0, up to most_backoff_s")

    def service_config(self) -> str:
        """Return gRPC's service config for it, as JSON; calls go to all addresses of a name in turn."""
        config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
        if self.attempts == 1:
            return json.dumps(config)
        policy = {
            "maxAttempts": self.attempts,
            "initialBackoff": f"{self.first_backoff_s:.3f}s",
            "maxBackoff": f"{self.most_backoff_s:.3f}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        return json.dumps({**config, "methodConfig": [{"name": [{}], "retryPolicy": policy}]})


DEFAULT_RETRY: Final = RetryPolicy()


def is_local(address: str) -> bool:
    """Say whether an address, in any of gRPC's forms, is certainly on this machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = re.sub(r"^(dns:(///)?|ipv4:|ipv6:)", "", address).rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Endpoint:
    """A server and how to reach it.

    Attributes:
        address: `host:port`; a name with several addresses, or `ipv4:HOST:PORT,HOST:PORT`, stands for as many servers.
        secure: whether to speak TLS.
        root_certificates: a PEM file of the authorities to trust; None takes gRPC's own. Only with `secure`.
        retry: what to do about UNAVAILABLE.
        certificate: a PEM file of a certificate to show the server, where it asks for one. Only with `secure`.
        key: a PEM file of its private key.
        token: an API token, sent with every call; None sends none.
        token_in_the_clear: lets the token go without TLS to another machine, for anybody on the way to read.
    """

    address: str
    secure: bool = False
    root_certificates: Path | None = None
    retry: RetryPolicy = DEFAULT_RETRY
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_in_the_clear: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: one given without the other; allowed: both or none")
        if self.certificate is not None and not self.secure:
            raise ValueError("certificate: given without secure; allowed: only for a TLS connection")
        if self.token is not None and not TOKEN.fullmatch(self.token):
            raise ValueError("token: has other characters than a token; allowed: letters, digits and -._~+/=")
        if self.token and not (self.secure or self.token_in_the_clear or is_local(self.address)):
            raise ValueError(
                f"token: would go to {self.address} without TLS; allowed: with TLS, to this machine, or where asked for"
            )
        if self.root_certificates is not None and not self.secure:
            raise ValueError("root_certificates: given without secure; allowed: only for a TLS connection")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what goes with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def open(self) -> grpc.Channel:
        """Open a blocking channel; nothing connects before the first call."""
        if self.secure:
            return grpc.secure_channel(self.address, self._credentials(), options=self._options())
        return grpc.insecure_channel(self.address, options=self._options())

    def open_async(self, further: Sequence[tuple[str, str | int]] = ()) -> grpc.aio.Channel:
        """Open a channel of the running event loop, with further options of gRPC."""
        options = [*self._options(), *further]
        if self.secure:
            return grpc.aio.secure_channel(self.address, self._credentials(), options=options)
        return grpc.aio.insecure_channel(self.address, options=options)

    def _credentials(self) -> grpc.ChannelCredentials:
        roots = self.root_certificates.read_bytes() if self.root_certificates else None
        key = self.key.read_bytes() if self.key else None
        chain = self.certificate.read_bytes() if self.certificate else None
        return grpc.ssl_channel_credentials(roots, key, chain)

    def _options(self) -> list[tuple[str, str | int]]:
        return [
            ("grpc.service_config", self.retry.service_config()),
            ("grpc.max_receive_message_length", ANSWER_BYTES),
        ]
