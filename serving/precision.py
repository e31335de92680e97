"""Which of a bundle's precisions to serve."""

from collections.abc import Mapping
from typing import Final

from serving.errors import BadConfiguration
from serving.manifest import Manifest, Precision

CPU: Final = "CPUExecutionProvider"
PREFERRED: Final[Mapping[str, tuple[Precision, ...]]] = {CPU: ("int8", "fp32")}
"""The precisions to take on a provider, best first."""
PREFERRED_ELSEWHERE: Final[tuple[Precision, ...]] = ("fp16", "fp32")


def choose_precision(manifest: Manifest, provider: str, asked: Precision | None = None) -> Precision:
    """Return the precision to serve a bundle in.

    Args:
        manifest: the bundle's.
        provider: the execution provider it will run on.
        asked: None takes the best that the bundle has for the provider.

    Raises:
        BadConfiguration: the bundle does not have it.
    """
    wanted = PREFERRED.get(provider, PREFERRED_ELSEWHERE) if asked is None else (asked,)
    for precision in wanted:
        if precision in manifest.graphs:
            return precision
    raise BadConfiguration(
        f"precision: {', '.join(wanted)}; {manifest.name}/{manifest.version} has {', '.join(manifest.graphs)}"
    )
