"""The files of TLS: read, tried, and read again when they change."""

import logging
import re
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.access.config import AccessConfig
from serving.access.files import Stamp, read, stamp_of
from serving.errors import BadConfiguration

logger = logging.getLogger(__name__)

HANDSHAKE_TURNS: Final = 10
"""More than any handshake takes."""


@dataclass(frozen=True)
class Certificates:
    """What one handshake needs, as PEM.

    Attributes:
        certificate: the server's, and those between it and the root.
        key: its private key.
        client_ca: the authorities of clients' certificates; None asks clients for none.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes | None


def load_certificates(config: AccessConfig) -> Certificates:
    """Read the files and try them in a handshake with ourselves.

    Raises:
        BadConfiguration: a file cannot be read, is not PEM, has expired, or key and certificate do not belong together; the
            message begins with the option that names it.
    """
    assert config.tls_cert is not None
    assert config.tls_key is not None, "the config's own check"
    loaded = _read(config)
    _check_pem("tls_cert", config.tls_cert, loaded.certificate, "CERTIFICATE")
    _check_pem("tls_key", config.tls_key, loaded.key, "PRIVATE KEY")
    _try_pair(config.tls_cert, config.tls_key)
    if config.tls_client_ca is not None and loaded.client_ca is not None:
        _check_authorities(config.tls_client_ca, loaded.client_ca)
    if _read(config) != loaded:  # OpenSSL reads files by itself
        raise BadConfiguration(f"tls_cert: {config.tls_cert}: changed while it was read")
    return loaded


class WatchedCertificates:
    """The certificates of the moment: those of the files, or the last good ones while the files are broken.

    Safe to use from several threads.

    Attributes:
        latest: what serves now.
    """

    def __init__(self, config: AccessConfig) -> None:
        """Read the files.

        Raises:
            BadConfiguration: see `load_certificates`.
        """
        self._config = config
        self._paths = [path for path in (config.tls_cert, config.tls_key, config.tls_client_ca) if path is not None]
        self._lock = threading.Lock()
        self._stamps = self._look()
        self.latest = load_certificates(config)

    def refresh(self) -> Certificates | None:
        """Return new certificates where the files have changed and are good; None goes on with the latest.

        gRPC asks this before every handshake: without a change it costs a stat a file. Why files are not taken is logged once.
        """
        with self._lock:
            stamps = self._look()
            if stamps == self._stamps:
                return None
            self._stamps = stamps
            try:
                loaded = load_certificates(self._config)
            except BadConfiguration as error:
                logger.warning("the TLS files have changed, but the ones before go on: %s", error)
                return None
            if loaded == self.latest:
                return None
            self.latest = loaded
            logger.info("took new TLS files: %s", ", ".join(map(str, self._paths)))
            return loaded

    def _look(self) -> list[Stamp | None]:
        return [stamp_of(path) for path in self._paths]


def _read(config: AccessConfig) -> Certificates:
    assert config.tls_cert is not None
    assert config.tls_key is not None
    client_ca = None if config.tls_client_ca is None else read("tls_client_ca", config.tls_client_ca)
    return Certificates(read("tls_cert", config.tls_cert), read("tls_key", config.tls_key), client_ca)


def _check_pem(option: str, path: Path, data: bytes, kind: str) -> None:
    if b"-----BEGIN " not in data or f"{kind}-----".encode() not in data:
        raise BadConfiguration(f"{option}: {path}: no {kind} in PEM; allowed: -----BEGIN ... {kind}-----")


def _try_pair(certificate: Path, key: Path) -> None:
    """Shake hands with ourselves: who trusts this certificate must take it, and its key must fit."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # what clients call this server is theirs to know
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it, the certificate itself is trusted
    try:
        client.load_verify_locations(certificate)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise BadConfiguration(f"tls_cert: {certificate}: no certificate in PEM: {_reason(error)}") from None
    try:
        server.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = _reason(error)
        if "mismatch" in reason:
            raise BadConfiguration(f"tls_key: {key}: not the key of {certificate}") from None
        raise BadConfiguration(
            f"tls_key: {key}: cannot be used with {certificate}: {reason}; allowed: a private key in PEM, without a password"
        ) from None
    try:
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        raise BadConfiguration(f"tls_cert: {certificate}: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise BadConfiguration(f"tls_cert: {certificate}: no handshake with it: {_reason(error)}") from None


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Let both sides talk over two buffers until each is done."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(HANDSHAKE_TURNS):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()


def _check_authorities(path: Path, data: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise BadConfiguration(f"tls_client_ca: {path}: no certificates in PEM: {_reason(error)}") from None
    ends = [ssl.cert_time_to_seconds(str(authority["notAfter"])) for authority in context.get_ca_certs()]
    if not ends:
        raise BadConfiguration(f"tls_client_ca: {path}: no certificate of an authority; allowed: those with CA:TRUE")
    if max(ends) < time.time():
        raise BadConfiguration(f"tls_client_ca: {path}: certificate has expired")


def _no_password() -> str:
    """Answer OpenSSL, which would ask the terminal else."""
    return ""


def _reason(error: Exception) -> str:
    """Return what OpenSSL says, without its places in the code."""
    words = str(getattr(error, "reason", None) or error)
    return re.sub(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$", "", words).lower().replace("_", " ")
