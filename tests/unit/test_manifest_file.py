"""Recording quality in a published bundle."""

from export.manifest_file import record_quality, write_manifest
from serving.bundle import load_bundle
from serving.manifest import QualityFigure
from tests.fakes.bundles import write_bundle


def figure(metric: str, value: float, data: str = "pointer hull") -> QualityFigure:
    return QualityFigure(metric=metric, value=value, data=data, command="beamstep evaluate models/hull/1")


def test_recorded_figures_replace_those_of_the_same_metric_and_data(tmp_path):
    bundle = write_bundle(tmp_path, "convex_hull")
    before = bundle.manifest.quality
    record_quality(bundle.folder, [figure("exact", 90), figure("area", 99)])
    record_quality(bundle.folder, [figure("exact", 95), figure("exact", 80, data="another file")])
    again = load_bundle(bundle.folder)
    assert again.manifest.quality == (
        *before,
        figure("area", 99),
        figure("exact", 95),
        figure("exact", 80, "another file"),
    )
    assert again.manifest == bundle.manifest.model_copy(update={"quality": again.manifest.quality})


def test_the_model_card_shows_what_was_recorded(tmp_path):
    bundle = write_bundle(tmp_path, "convex_hull")
    record_quality(bundle.folder, [figure("exact", 91.234)])
    card = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert "| exact | 91.234 | pointer hull | `beamstep evaluate models/hull/1` |" in card
    assert not list(bundle.folder.glob("*.partial"))


def test_the_model_card_carries_the_notes_of_the_export(tmp_path):
    bundle = write_bundle(tmp_path, "convex_hull")
    provenance = bundle.manifest.provenance.model_copy(update={"notes": ("Trained in two sittings.",)})
    write_manifest(bundle.folder, bundle.manifest.model_copy(update={"provenance": provenance}))
    assert "\n\nTrained in two sittings.\n" in (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert load_bundle(bundle.folder).manifest.provenance.notes == ("Trained in two sittings.",)


def test_a_patience_of_the_model_s_own_stands_in_the_manifest_and_the_card(tmp_path):
    bundle = write_bundle(tmp_path, "convex_hull")
    write_manifest(bundle.folder, bundle.manifest)
    assert "patience" not in (bundle.folder / "README.md").read_text(encoding="utf-8")
    defaults = bundle.manifest.defaults.model_copy(update={"patience": 1.4})
    write_manifest(bundle.folder, bundle.manifest.model_copy(update={"defaults": defaults}))
    assert load_bundle(bundle.folder).manifest.defaults.patience == 1.4
    assert "once 1.4 times the beam size hypotheses have ended" in (bundle.folder / "README.md").read_text(
        encoding="utf-8"
    )
