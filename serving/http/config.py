"""Whether there is an HTTP port, and where."""

from dataclasses import dataclass

from serving.errors import BadConfiguration


@dataclass(frozen=True)
class HttpConfig:
    """Where the HTTP port listens.

    Attributes:
        port: 0 takes any free one; None has no HTTP port at all.
        host: the address to listen on; None listens where gRPC does.
    """

    port: int | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise BadConfiguration(f"http_port: {self.port}; allowed: from 0 (any free port) to 65535")
        if self.host is not None and self.port is None:
            raise BadConfiguration(f"http_host: {self.host}; allowed: with http_port alone")
