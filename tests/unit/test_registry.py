"""Which bundle answers a request that names none, and in which order all are listed."""

from pathlib import Path

import pytest

from serving.errors import BadConfiguration, UnknownModel
from serving.registry import Registry
from serving.tasks.translation import Translation
from tests.fakes.bundles import write_bundle


def registry_of(folder: Path, preferred: tuple[str, ...] = ()) -> Registry:
    bundles = [
        write_bundle(folder, "translation", "de-en"),
        write_bundle(folder, "translation", "en-de"),
        write_bundle(folder, "translation", "en-de", "2"),
        write_bundle(folder, "translation", "en-fr"),
    ]
    return Registry(bundles, preferred)


def test_bundles_stand_by_name_and_latest_version_first(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    assert [task.bundle.key for task in registry] == ["de-en/1", "en-de/2", "en-de/1", "en-fr/1"]
    assert registry.find(Translation, "", "").bundle.key == "de-en/1"


def test_preferred_bundles_come_first_in_their_order(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, ("en-fr", "en-de"))
    assert [task.bundle.key for task in registry] == ["en-fr/1", "en-de/2", "en-de/1", "de-en/1"]
    assert registry.find(Translation, "", "").bundle.key == "en-fr/1"
    with pytest.raises(UnknownModel, match="en-xx"):
        registry.find(Translation, "en-xx", "")


def test_preferring_a_bundle_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="prefer: en-xx; allowed: some of de-en, en-de, en-fr"):
        registry_of(tmp_path, ("en-xx",))
