"""The options that commands share, each declared once, and what a command makes of them."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

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

    def client(self) -> "Client":
        """Open a client; nothing connects before the first call."""
        from beamstep.client import Client

        return Client(
            self.address,
            timeout_s=self.timeout,
            secure=self.tls or self.root_certificates is not None,
            root_certificates=self.root_certificates,
        )

    def endpoint(self, retry: "RetryPolicy") -> "Endpoint":
        """Return the same server for channels of one's own."""
        from beamstep.channel import Endpoint

        secure = self.tls or self.root_certificates is not None
        return Endpoint(self.address, secure, self.root_certificates, retry)


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
