"""The options that commands share, each declared once, and what a command makes of them."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from beamstep.failures import BAD_INPUT, failure

if TYPE_CHECKING:  # gRPC takes 0.1 s to import, which `--help` need not wait for
    from beamstep.channel import Endpoint, RetryPolicy
    from beamstep.client import Client

SERVER: Final = "Server"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach the server, and how to print its answer."""

    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as one line of JSON.")] = False
    address: Annotated[
        str, typer.Option(envvar="BEAMSTEP_ADDRESS", help="The server's host:port.", rich_help_panel=SERVER)
    ] = "localhost:50051"
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds one call may take, retries included.", rich_help_panel=SERVER)
    ] = 60.0
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS.", rich_help_panel=SERVER)] = False
    root_certificates: Annotated[
        Path | None,
        typer.Option(help="A PEM file of the authorities to trust; implies --tls.", rich_help_panel=SERVER),
    ] = None

    tls_cert: Annotated[
        Path | None,
        typer.Option(
            help="A PEM file of a certificate to show the server; with --tls-key; implies --tls.",
            rich_help_panel=SERVER,
        ),
    ] = None
    tls_key: Annotated[Path | None, typer.Option(help="A PEM file of its private key.", rich_help_panel=SERVER)] = None
    token: Annotated[
        str,
        typer.Option(envvar="BEAMSTEP_TOKEN", help="An API token, sent with every call.", rich_help_panel=SERVER),
    ] = field(default="", repr=False)
    insecure_token: Annotated[
        bool,
        typer.Option(
            "--insecure-token", help="Send the token without TLS to another machine, too.", rich_help_panel=SERVER
        ),
    ] = False

    def client(self) -> "Client":
        """Open a client; nothing connects before the first call."""
        from beamstep.channel import DEFAULT_RETRY
        from beamstep.client import Client

        endpoint = self.endpoint(DEFAULT_RETRY)
        return Client(
            endpoint.address,
            timeout_s=self.timeout,
            secure=endpoint.secure,
            root_certificates=endpoint.root_certificates,
            certificate=endpoint.certificate,
            key=endpoint.key,
            token=endpoint.token,
            token_in_the_clear=endpoint.token_in_the_clear,
        )

    def endpoint(self, retry: "RetryPolicy") -> "Endpoint":
        """Return the server and how to reach it, for channels of one's own."""
        from beamstep.channel import Endpoint, is_local

        secure = self.tls or self.root_certificates is not None or self.tls_cert is not None
        if (self.tls_cert is None) != (self.tls_key is None):
            raise failure("--tls-cert and --tls-key: one given without the other; allowed: both or none", BAD_INPUT)
        if self.token and not (secure or self.insecure_token or is_local(self.address)):
            message = (
                f"the token would go to {self.address} without TLS; allowed: --tls, or --insecure-token all the same"
            )
            raise failure(f"--token: {message}", BAD_INPUT)
        try:
            return Endpoint(
                self.address,
                secure,
                self.root_certificates,
                retry,
                certificate=self.tls_cert,
                key=self.tls_key,
                token=self.token or None,
                token_in_the_clear=self.insecure_token,
            )
        except ValueError as error:
            raise failure(str(error), BAD_INPUT) from None


def split_model(model: str) -> tuple[str, str]:
    """Split NAME/VERSION; the version is "" where there is none."""
    name, _, version = model.partition("/")
    return name, version


def with_options(options: type[Connection]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every field of `options` as an option of the command line, and hand it them as its argument `call`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(options).parameters

        @functools.wraps(command)
        def run(**given: Any) -> None:
            call = options(**{name: given.pop(name) for name in shared})
            command(**given, call=call)

        own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "call"]
        keyword_only = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in [*own, *shared.values()]
        ]
        # Typer reads a command's parameters from its signature.
        run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword_only}
        return run

    return decorate
