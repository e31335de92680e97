"""Which of a bundle's precisions to serve: one that was found to give the answers it should on the provider."""

from collections.abc import Mapping
from typing import Final

from serving.errors import BadConfiguration
from serving.manifest import PRECISIONS, Certificate, Manifest, Precision

CPU: Final = "CPUExecutionProvider"
PREFERRED: Final[Mapping[str, tuple[Precision, ...]]] = {CPU: ("int8", "fp32")}
"""The precisions to take on a provider, best first."""
PREFERRED_ELSEWHERE: Final[tuple[Precision, ...]] = ("fp16", "fp32")


def choose_precision(
    manifest: Manifest, provider: str, asked: Precision | None = None, *, allow_uncertified: bool = False
) -> Precision:
    """Return the precision to serve a bundle in.

    Args:
        manifest: the bundle's.
        provider: the execution provider it will run on.
        asked: None takes the best that has a certificate for the provider.
        allow_uncertified: where none has, go on with the best that there is.

    Raises:
        BadConfiguration: the bundle does not have it, or no certificate that it passed.
    """
    wanted = PREFERRED.get(provider, PREFERRED_ELSEWHERE) if asked is None else (asked,)
    there = [precision for precision in wanted if precision in manifest.graphs]
    key = f"{manifest.name}/{manifest.version}"
    if not there:
        raise BadConfiguration(f"precision: {', '.join(wanted)}; {key} has {', '.join(manifest.graphs)}")
    for precision in there:
        certificate = find_certificate(manifest, provider, precision)
        if certificate is not None and certificate.passed:
            return precision
    if allow_uncertified:
        return there[0]
    raise BadConfiguration(
        f"certificate: {key} has none that {' or '.join(there)} passed on {provider}; it has {_certificates(manifest)}. Measure it "
        f"here: beamstep verify models/{key} --provider {provider} --precision {','.join(there)} --write; or go on without: "
        "--allow-uncertified"
    )


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Read a list such as `int8,fp32`.

    Raises:
        BadConfiguration: it names none, one twice, or something else.
    """
    names = [name.strip() for name in text.split(",")]
    chosen = tuple(precision for name in names for precision in PRECISIONS if precision == name)
    if len(chosen) != len(names) or len(set(names)) < len(names):
        raise BadConfiguration(f"precision: {text!r}; allowed: some of {','.join(PRECISIONS)}, each once")
    return chosen


def find_certificate(manifest: Manifest, provider: str, precision: Precision) -> Certificate | None:
    """Return the certificate of one precision on one provider; None where there is none."""
    of_pair = (one for one in manifest.certificates if (one.provider, one.precision) == (provider, precision))
    return next(of_pair, None)


def _certificates(manifest: Manifest) -> str:
    verdict = {True: "passed", False: "failed"}
    found = (f"{one.precision} on {one.provider} ({verdict[one.passed]})" for one in manifest.certificates)
    return ", ".join(found) or "no certificates"
