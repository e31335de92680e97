"""`beamstep verify`: a bundle in, what it does on this machine out, and whether serving may use it."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from beamstep.certificates import certificate_table
from beamstep.output import output_console
from export.certification.certify import certify
from export.certification.references_file import load_references
from export.certification.sealing import seal_by_hand
from export.evaluation.command import find_bundle
from export.manifest_file import record_certificate
from serving.bundle import Bundle, load_bundle
from serving.errors import BadBundle, BadConfiguration, BeamstepError
from serving.manifest import Certificate, Precision
from serving.precision import parse_precisions
from serving.runtime.providers import provider_names
from serving.servicers.certificates import certificate_message

BAD_INPUT = 2
OTHER = 1


def verify(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle: models/NAME/VERSION, or models/NAME for its latest version.")
    ],
    *,
    provider: Annotated[
        str,
        typer.Option(help="As for `beamstep serve`: such as cpu or tensorrt,cuda; the certificate is of the first."),
    ] = "cpu",
    precision: Annotated[str, typer.Option(help="Some of what the bundle has; default: all.")] = "",
    inputs: Annotated[int | None, typer.Option(min=1, help="Compare the first so many answers; default: all.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep the certificates in the manifest and the card.")] = False,
    seal: Annotated[
        bool, typer.Option("--seal", help="First complete and seal a manifest written by hand: docs/bundle.md.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the certificates as one line of JSON, the last of stdout.")
    ] = False,
) -> None:
    """Measure a bundle against the answers that travel in it, without PyTorch; exit status 1 when it does not pass."""
    try:
        folder = find_bundle(bundle)
        if seal:
            seal_by_hand(folder)
        certificates = run_verification(load_bundle(folder), provider, precision, inputs)
        if write:
            for certificate in certificates:
                record_certificate(folder, certificate)
    except (BadBundle, BadConfiguration) as error:
        raise _failure(error, BAD_INPUT) from None
    except (BeamstepError, OSError) as error:
        raise _failure(error, OTHER) from None
    _print(certificates, as_json=as_json)
    if not all(certificate.passed for certificate in certificates):
        raise typer.Exit(OTHER)


def run_verification(bundle: Bundle, provider: str, precision: str, inputs: int | None) -> list[Certificate]:
    """Certify the precisions of a bundle on a provider.

    Raises:
        BadBundle: the graphs or the references cannot be read.
        BadConfiguration: the provider is not there, or the bundle has no such precision.
    """
    providers = provider_names(provider)
    references = load_references(bundle)
    if references is not None:
        references = references.first(inputs)
    with Console(stderr=True).status(f"loading {bundle.key}") as status:
        return [certify(bundle, one, providers, references, status.update) for one in _precisions(bundle, precision)]


def _precisions(bundle: Bundle, asked: str) -> tuple[Precision, ...]:
    there = bundle.manifest.graphs
    precisions = parse_precisions(asked) if asked else tuple(there)
    missing = [precision for precision in precisions if precision not in there]
    if missing:
        raise BadConfiguration(f"precision: {', '.join(missing)}; {bundle.key} has {', '.join(there)}")
    return precisions


def _print(certificates: list[Certificate], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([certificate.model_dump(mode="json") for certificate in certificates]))
        return
    output_console().print(certificate_table([certificate_message(one) for one in certificates]))


def _failure(error: Exception, status: int) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(status)
