"""Manifests of older format numbers, read as this version's.

A format that cannot be read as this one is refused by `serving.bundle`, which says to export the run again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from serving.errors import BadBundle

FORMAT_1_PARITY: Final = (
    "provider",
    "tensor_shapes",
    "tensor_error",
    "inputs",
    "greedy_identical",
    "beam_size",
    "beam_identical",
)
"""What a parity report of format 1 always has; `margin` may be absent."""


def from_format_1(old: dict[str, Any]) -> dict[str, Any]:
    """Read format 1: one pair of graphs, whose arithmetic is float32 whatever its weights are stored in.

    Its parity reports become certificates: such a bundle was published only where they passed. Whatever else is wrong with it,
    this version's types find.

    Raises:
        BadBundle: a parity report is none.
    """
    manifest = {key: value for key, value in old.items() if key not in {"precision", "parity"}}
    provenance = old.get("provenance")
    created = provenance.get("created", "") if isinstance(provenance, dict) else ""
    reports = old.get("parity", [])
    if not isinstance(reports, list):
        raise BadBundle("parity: not a list; a manifest of format 1 has one")
    manifest["format"] = 2
    manifest["graphs"] = {"fp32": old.get("graphs")}
    manifest["certificates"] = [_certificate(report, created, place) for place, report in enumerate(reports)]
    return manifest


def _certificate(report: Any, created: str, place: int) -> dict[str, Any]:
    missing = [name for name in FORMAT_1_PARITY if not isinstance(report, dict) or name not in report]
    if missing:
        raise BadBundle(f"parity.{place}: {', '.join(missing)} missing; a manifest of format 1 has them")
    return {
        "provider": report["provider"],
        "precision": "fp32",
        "passed": True,
        "created": created,
        "machine": "not recorded in format 1",
        "inputs": f"{report['inputs']} held-back inputs",
        "tensor_shapes": report["tensor_shapes"],
        "tensor_error": report["tensor_error"],
        "tokens": [
            _agreement(report, 1, "greedy_identical") | {"largest_margin": report.get("margin")},
            _agreement(report, report["beam_size"], "beam_identical"),
        ],
    }


def _agreement(report: dict[str, Any], beam_size: Any, identical: str) -> dict[str, Any]:
    """Return a share of answers that were identical alone and in a mixed batch, so that each share was that large at least."""
    shares = dict.fromkeys(("identical_alone", "identical_in_batch"), report[identical])
    return {"beam_size": beam_size, "inputs": report["inputs"], **shares}


READERS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: from_format_1}
"""How to read each older format number as this version's manifest."""
