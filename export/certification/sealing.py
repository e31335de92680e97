"""A manifest that was written by hand: what the files know better is filled in, and it is sealed. See docs/bundle.md."""

import json
from pathlib import Path
from typing import Any

from export.certification.contract import encoder_signature, step_signature
from export.manifest_file import write_manifest
from serving.bundle import MANIFEST_FILE, check_manifest, sha256_of
from serving.errors import BadBundle
from serving.manifest import FORMAT, PRECISIONS, Manifest
from serving.seal import SEAL


def seal_by_hand(folder: Path) -> Manifest:
    """Fill in the hash of every file that the manifest names and the tensors of every graph, then write it sealed.

    What it says of certificates is dropped: they were measured on other files.

    Raises:
        BadBundle: the manifest is not JSON, names a file that is not there, a graph breaks the contract, or it is no manifest even
            so; the message names the file.
    """
    path = folder / MANIFEST_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        graphs, tokenizers = content["graphs"], content.get("tokenizers", {})
        pairs = {precision: graphs[precision] for precision in PRECISIONS if precision in graphs}
        others = [*tokenizers.values(), content.get("references")]
        for spec in (*(pair[graph] for pair in pairs.values() for graph in pair), *filter(None, others)):
            spec["sha256"] = _hash(folder / spec["file"])
        for pair in pairs.values():
            _describe(folder, pair, content["task"])
        kept = {key: value for key, value in content.items() if key not in {SEAL, "certificates"}}
    except BadBundle:
        raise
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise BadBundle(f"{path}: {type(error).__name__}: {error}; docs/bundle.md has a whole one") from None
    manifest = check_manifest(path, kept | {"format": FORMAT})
    write_manifest(folder, manifest)
    return manifest


def _describe(folder: Path, pair: dict[str, Any], task: Any) -> None:
    """Write the tensors of both graphs into what the manifest says of them."""
    encoder = encoder_signature(folder / pair["encoder"]["file"], task)
    step = step_signature(folder / pair["decoder_step"]["file"], encoder)
    for graph, signature in (("encoder", encoder), ("decoder_step", step)):
        for name, specs in zip(("inputs", "outputs"), signature, strict=True):
            pair[graph][name] = [spec.model_dump() for spec in specs]


def _hash(path: Path) -> str:
    if not path.is_file():
        raise BadBundle(f"{path}: missing; the manifest names it")
    return sha256_of(path)
