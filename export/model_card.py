"""The model card: what a bundle's manifest says, for people."""

from collections.abc import Iterable
from typing import Final

from beamstep.certificates import certificate_rows
from serving.manifest import LengthRule, Manifest
from serving.servicers.certificates import certificate_message

CALLS: Final = {
    "translation": 'beamstep translate "A dog runs."',
    "captioning": "beamstep caption photo.jpg",
    "convex_hull": "beamstep hull points.csv",
    "delaunay": "beamstep triangulate points.csv",
    "tour": "beamstep tour points.csv",
}


def render_card(manifest: Manifest) -> str:
    """Write the card; every figure in it stands in the manifest, put there by what measured it."""
    sections = (
        f"# {manifest.name}, version {manifest.version}",
        manifest.description,
        f"    {CALLS[manifest.task]} --model {manifest.name}",
        "Written by `beamstep export` and `beamstep evaluate --record` from `manifest.json`; edit neither by hand.",
        _data(manifest),
        _quality(manifest),
        _fidelity(manifest),
        _limits(manifest),
    )
    return "\n\n".join(sections) + "\n"


def _data(manifest: Manifest) -> str:
    made = manifest.provenance
    table = _table(("data", "licence"), ((source.name, source.licence) for source in made.data_sources))
    return (
        "## Where it comes from\n\n"
        f"Recipe `{made.recipe}` with seed {made.seed}, code at commit `{made.git_commit}`, exported {made.created} with "
        f"{', '.join(made.tool_versions)}. Precisions: {', '.join(manifest.graphs)}.\n\n{table}\n\n"
        + "\n\n".join(("The licence of the data bounds what the model may be used for.", *made.notes))
    )


def _quality(manifest: Manifest) -> str:
    if not manifest.quality:
        return "## Quality\n\nNot measured yet: `beamstep evaluate --record` does."
    rows = ((figure.metric, f"{figure.value:g}", figure.data, f"`{figure.command}`") for figure in manifest.quality)
    table = _table(("metric", "value", "data", "command"), rows)
    return f"## Quality\n\nMeasured through serving; shares, gaps and BLEU in percent.\n\n{table}"


def _fidelity(manifest: Manifest) -> str:
    if not manifest.certificates:
        return "## Certificates\n\nNone: `beamstep verify --write` makes them."
    names, *rows = certificate_rows([certificate_message(one) for one in manifest.certificates])
    return (
        "## Certificates\n\nEach precision against PyTorch with the weights it was trained to, on one execution provider; "
        "`beamstep verify` measures again on another machine. docs/export.md says what each figure means and which bound it must "
        f"keep.\n\n{_table(names, rows)}"
    )


def _limits(manifest: Manifest) -> str:
    limits, defaults = manifest.limits, manifest.defaults
    unit = "points" if manifest.vocabulary.size is None else "subword pieces"
    source = (
        ""
        if manifest.task == "captioning"
        else f" Sources of {limits.min_source_length} to {limits.source_length} {unit}."
    )
    patience = (
        ""
        if defaults.patience is None
        else f" A search is over once {defaults.patience:g} times the beam size hypotheses have ended (`patience`)."
    )
    return (
        f"## Limits\n\nBeam up to {limits.beam_size} (default {defaults.beam_size}), answers up to {limits.max_length} tokens "
        f"(default {_length(manifest.defaults.max_length)}).{source}{patience}"
    )


def _length(rule: LengthRule) -> str:
    times = f"{rule.per_source:g} times the source's length" if rule.per_source else ""
    return " plus ".join(part for part in (times, str(rule.plus) if rule.plus or not times else "") if part)


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(names)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
