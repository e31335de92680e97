"""Manifests of older format numbers, read as this version's.

A format that cannot be read as this one is refused by `serving.bundle`, which says to export the run again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final


def from_format_1(old: dict[str, Any]) -> dict[str, Any]:
    """Read format 1: one pair of graphs, whose arithmetic is float32 whatever its weights are stored in.

    Its parity reports become certificates: such a bundle was published only where they passed.
    """
    manifest = {key: value for key, value in old.items() if key not in {"precision", "parity"}}
    created = old.get("provenance", {}).get("created", "")
    manifest["format"] = 2
    manifest["graphs"] = {"fp32": old.get("graphs")}
    manifest["certificates"] = [_certificate(report, created) for report in old.get("parity", ())]
    return manifest


def _certificate(report: dict[str, Any], created: str) -> dict[str, Any]:
    tokens = [
        {
            "beam_size": beam_size,
            "inputs": report.get("inputs"),
            "identical": report.get(identical),
            "largest_margin": margin,
        }
        for beam_size, identical, margin in (
            (1, "greedy_identical", report.get("margin")),
            (report.get("beam_size"), "beam_identical", None),
        )
    ]
    return {
        "provider": report.get("provider"),
        "precision": "fp32",
        "passed": True,
        "created": created,
        "machine": "not recorded in format 1",
        "tensor_shapes": report.get("tensor_shapes"),
        "tensor_error": report.get("tensor_error"),
        "tokens": tokens,
    }


READERS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: from_format_1}
"""How to read each older format number as this version's manifest."""
