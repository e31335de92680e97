"""What an operator can choose of who may call, and over what."""

from dataclasses import dataclass
from pathlib import Path

from serving.errors import BadConfiguration


@dataclass(frozen=True)
class AccessConfig:
    """Who may call; all off by default.

    Attributes:
        tls_cert: a PEM file of the server's certificate, those of authorities between it and the root behind it. Given, the port
            speaks TLS alone.
        tls_key: a PEM file of its private key, without a password.
        tls_client_ca: a PEM file of authorities: given, a client must show a certificate that one of them signed.
        tokens: a TOML file of API tokens (`serving/access/tokens.py`): given, calls must bring one.
    """

    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tokens: Path | None = None

    def __post_init__(self) -> None:
        if self.tls_cert is not None and self.tls_key is None:
            raise BadConfiguration("tls_key: none beside tls_cert; allowed: the file of that certificate's key")
        if self.tls_cert is None and self.tls_key is not None:
            raise BadConfiguration("tls_cert: none beside tls_key; allowed: the file of that key's certificate")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise BadConfiguration("tls_client_ca: given without tls_cert; allowed: only where the server speaks TLS")
