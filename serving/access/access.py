"""Who may call, and over what: the port and what stands at it."""

import ipaddress
import logging

import grpc

from serving.access.certificates import Certificates, WatchedCertificates
from serving.access.config import AccessConfig
from serving.access.gate import Gate
from serving.access.interceptor import AccessInterceptor

logger = logging.getLogger(__name__)


class Access:
    """A server's door.

    Attributes:
        interceptors: to stand behind the one that follows calls; none where anybody may call.
    """

    def __init__(self, config: AccessConfig) -> None:
        """Read certificates and tokens.

        Raises:
            BadConfiguration: a file is missing or wrong.
        """
        self._config = config
        self._certificates = None if config.tls_cert is None else WatchedCertificates(config)
        self.interceptors = [] if config.tokens is None else [AccessInterceptor(Gate(config.tokens))]

    def open_port(self, server: grpc.aio.Server, host: str, port: int) -> int:
        """Let a server listen, over TLS where there are certificates, and return the port.

        Raises:
            RuntimeError: the port cannot be had.
        """
        address = f"{host}:{port}"
        if self._certificates is not None:
            return server.add_secure_port(address, _credentials(self._certificates))
        if not self.interceptors and not is_loopback(host):
            logger.warning(
                "whoever reaches %s may call: neither TLS nor tokens are on (docs/operating/security.md)", host
            )
        return server.add_insecure_port(address)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("unix:")


def _credentials(watched: WatchedCertificates) -> grpc.ServerCredentials:
    def fetch() -> grpc.ServerCertificateConfiguration | None:
        fresh = watched.refresh()
        return None if fresh is None else _configuration(fresh)

    latest = watched.latest
    return grpc.dynamic_ssl_server_credentials(
        _configuration(latest),
        fetch,  # type: ignore[arg-type]  # None is grpc's own word for no change
        require_client_authentication=latest.client_ca is not None,
    )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = [(certificates.key, certificates.certificate)]
    return grpc.ssl_server_certificate_configuration(pair, root_certificates=certificates.client_ca)
