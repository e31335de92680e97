"""Ask a server's standard health service once: exit status 0 when it is SERVING. For container health checks.

    python -m serving.health_check localhost:50051
    python -m serving.health_check localhost:50051 --root-certificates ca.pem --server-name beamstep.example.org
    python -m serving.health_check localhost:50051 --root-certificates ca.pem --tls-cert check.pem --tls-key check.key

Health needs no API token; a server that asks clients for certificates asks this one too.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


@dataclass(frozen=True)
class Tls:
    """How to speak TLS.

    Attributes:
        root_certificates: a PEM file of the authorities to trust; the server's own certificate will do.
        certificate: a PEM file of a certificate to show; None shows none.
        key: a PEM file of its private key.
        server_name: whom the server's certificate must be for; "" takes the address's host.
    """

    root_certificates: Path
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""


def is_serving(address: str, *, service: str = "", timeout_s: float = 2.0, tls: Tls | None = None) -> bool:
    """Return whether `service` ("" for the whole server) at `address` answers SERVING within the timeout.

    Raises:
        OSError: a file of `tls` cannot be read.
    """
    with _channel(address, tls) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its methods are made at run time
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(address: str, tls: Tls | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address)
    credentials = grpc.ssl_channel_credentials(
        tls.root_certificates.read_bytes(),
        None if tls.key is None else tls.key.read_bytes(),
        None if tls.certificate is None else tls.certificate.read_bytes(),
    )
    name = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return grpc.secure_channel(address, credentials, options=name)


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 serving, 1 not, 2 for arguments that cannot be meant."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.health_check", description="Ask once whether a server is ready."
    )
    parser.add_argument("address", help="host:port")
    parser.add_argument("--service", default="", help="full name of a service; by default the whole server")
    parser.add_argument("--root-certificates", type=Path, help="speak TLS and trust these (PEM)")
    parser.add_argument("--tls-cert", type=Path, help="certificate to show (PEM)")
    parser.add_argument("--tls-key", type=Path, help="its private key (PEM)")
    parser.add_argument("--server-name", default="", help="whom the server's certificate is for; by default the host")
    given = parser.parse_args(arguments)
    if (given.tls_cert is None) != (given.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    if given.root_certificates is None and (given.tls_cert is not None or given.server_name):
        parser.error("--tls-cert and --server-name need --root-certificates")
    tls = None
    if given.root_certificates is not None:
        tls = Tls(given.root_certificates, given.tls_cert, given.tls_key, given.server_name)
    try:
        return 0 if is_serving(given.address, service=given.service, tls=tls) else 1
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
