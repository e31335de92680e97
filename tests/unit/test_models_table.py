"""The tables of docs/models.md: ours beside what is published, and where they are put."""

from pathlib import Path

import pytest

from benchmarks.documents import NoPlaceError, write_into, written
from benchmarks.models_table import (
    RECORDS,
    RECORDS_COMMAND,
    TRAINING_COMMAND,
    Record,
    _ours,
    latest_manifests,
    recipe_chain,
    records_table,
    training_table,
)
from serving.manifest import QualityFigure
from tests.fakes.bundles import write_bundle

ROOT = Path(__file__).parents[2]


def figure(metric: str, value: float, data: str) -> QualityFigure:
    return QualityFigure(metric=metric, value=value, data=data, command="beamstep evaluate")


@pytest.mark.parametrize(
    ("value", "target", "metric", "said"),
    [
        (40.1, 40.1, "exact", "40.10 (version 1)"),
        (40.0, 40.1, "exact", "40.00 (version 1), **missed**"),
        (0.2, 0.3, "gap", "0.20 (version 1)"),
        (0.4, 0.3, "gap", "0.40 (version 1), **missed**"),
        (1.0, None, "exact", "1.00 (version 1)"),
    ],
)
def test_a_target_that_was_missed_is_marked(
    tmp_path: Path, value: float, target: float | None, metric: str, said: str
) -> None:
    manifest = write_bundle(tmp_path, "convex_hull").manifest
    quality = (figure(metric, 99.0, "instances hull-100-seed-2"), figure(metric, value, "instances hull-10-seed-2"))
    record = Record(manifest.name, "n = 10", metric, r"instances hull-10-.*", "87", "a paper", target)
    assert _ours(record, {manifest.name: manifest.model_copy(update={"quality": quality})}) == said


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path, "convex_hull").manifest
    record = Record(manifest.name, "n = 10", "exact", "nothing", "87", "a paper", 1.0)
    assert _ours(record, {manifest.name: manifest}) == "not measured"
    assert _ours(record, {}) == "no such bundle"


def test_a_chain_ends_with_the_recipe_and_begins_with_one_that_starts_afresh() -> None:
    assert recipe_chain("hull") == ["hull-small", "hull"]
    assert recipe_chain("long gone") == ["long gone"]


def test_what_a_command_prints_takes_its_place_in_a_document(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("Above.\n<!-- one -->\nold\n<!-- end -->\n<!-- two -->\n<!-- end -->\n", encoding="utf-8")
    write_into(document, "two", ["| a |", "|---|"])
    write_into(document, "one", [])
    assert document.read_text(encoding="utf-8") == (
        "Above.\n<!-- one -->\n<!-- end -->\n<!-- two -->\n| a |\n|---|\n<!-- end -->\n"
    )
    assert written(document, "two") == ["| a |", "|---|"]
    with pytest.raises(NoPlaceError, match="has no place for what is made by it"):
        write_into(document, "three", [])


def test_the_page_says_what_the_manifests_say() -> None:
    """Where this fails: python -m benchmarks.models_table --write docs/models.md."""
    manifests = latest_manifests(ROOT / "models")
    page = ROOT / "docs" / "models.md"
    assert written(page, RECORDS_COMMAND) == list(records_table(manifests))
    assert written(page, TRAINING_COMMAND) == list(training_table(manifests))
    assert {record.model for record in RECORDS} >= manifests.keys()
