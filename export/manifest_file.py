"""The manifest and the model card in a bundle's folder: written at export, and again when something was measured; without torch."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from export.model_card import render_card
from serving.bundle import MANIFEST_FILE, load_bundle
from serving.manifest import Certificate, Manifest, QualityFigure
from serving.seal import sealed

CARD_FILE: Final = "README.md"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and the model card made from it, each whole or not at all."""
    _write_whole(folder / MANIFEST_FILE, sealed(manifest))
    _write_whole(folder / CARD_FILE, render_card(manifest))


def record_quality(folder: Path, figures: Sequence[QualityFigure]) -> Manifest:
    """Put measured figures into a bundle's manifest and card, in place of older ones of the same metric and data.

    Args:
        folder: a published bundle.
        figures: as a command measured them, the command included.

    Raises:
        BadBundle: the folder holds no whole bundle.
    """
    manifest = load_bundle(folder).manifest
    measured = {(figure.metric, figure.data) for figure in figures}
    kept = tuple(figure for figure in manifest.quality if (figure.metric, figure.data) not in measured)
    manifest = manifest.model_copy(update={"quality": (*kept, *figures)})
    write_manifest(folder, manifest)
    return manifest


def record_certificate(folder: Path, certificate: Certificate) -> Manifest:
    """Put a certificate into a bundle's manifest and card, in place of the one of the same provider and precision.

    Raises:
        BadBundle: the folder holds no whole bundle.
    """
    manifest = load_bundle(folder).manifest
    pair = (certificate.provider, certificate.precision)
    kept = tuple(one for one in manifest.certificates if (one.provider, one.precision) != pair)
    manifest = manifest.model_copy(update={"certificates": (*kept, certificate)})
    write_manifest(folder, manifest)
    return manifest


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write_whole(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
