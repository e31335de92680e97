"""Bundles that are published, damaged and taken away while a server runs, and models that say which content they are."""

import json
import shutil
import uuid
from pathlib import Path

from serving.bundle import MANIFEST_FILE, Bundle, sha256_of
from serving.errors import BadBundle
from serving.session import SessionConfig
from tests.fakes.bundles import seal, write_bundle
from tests.fakes.planned import PlannedModel, open_planned

REVERSED = "answers backwards"
"""A description; the model of such a bundle gives its source from the last token to the first."""
FIRST_ONLY = "answers the first token"
UNUSABLE = "has graphs that do not open"


class Shop:
    """Writes bundles beside the models and renames them into place, as an export does."""

    def __init__(self, models: Path, workshop: Path) -> None:
        self.models = models
        self._workshop = workshop
        models.mkdir()

    def make(self, task: str, name: str, version: str, description: str = "") -> Path:
        """Write a bundle where no server looks."""
        shelf = self._workshop / uuid.uuid4().hex
        folder = write_bundle(shelf, task, name, version).folder
        if description:
            content = json.loads((folder / MANIFEST_FILE).read_text())
            seal(folder, content | {"description": description})
        return folder

    def publish(
        self, version: str, *, name: str = "translation", task: str = "translation", description: str = ""
    ) -> Path:
        """Make a version and rename it into place; what stood there is renamed away first."""
        return self.rename_into_place(self.make(task, name, version, description))

    def rename_into_place(self, made: Path) -> Path:
        final = self.models / made.parent.name / made.name
        final.parent.mkdir(exist_ok=True)
        if final.exists():
            final.rename(self._workshop / uuid.uuid4().hex)
        return made.rename(final)

    def remove(self, version: str, *, name: str = "translation") -> None:
        shutil.rmtree(self.models / name / version)


def truncate(folder: Path) -> None:
    path = folder / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:5])


def corrupt_manifest(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def future_format(folder: Path) -> None:
    content = json.loads((folder / MANIFEST_FILE).read_text())
    seal(folder, content | {"format": 99})


def altered_graph(folder: Path) -> None:
    """A graph of another content whose hash the manifest has, so that only opening it tells."""
    path = folder / "encoder.onnx"
    path.write_bytes(b"something else")
    content = json.loads((folder / MANIFEST_FILE).read_text())
    content["graphs"]["fp32"]["encoder"]["sha256"] = sha256_of(path)
    seal(folder, content | {"description": UNUSABLE})


def open_described(bundle: Bundle, session: SessionConfig) -> PlannedModel:
    """Open a translation model whose answers tell which bundle it is of."""
    description = bundle.manifest.description
    if description == UNUSABLE:
        raise BadBundle(f"{bundle.folder / 'encoder.onnx'}: cannot be loaded: no such graph")
    if description == REVERSED:
        return PlannedModel(lambda inputs: inputs["source_tokens"].tolist()[-2::-1], bundle.manifest.vocabulary.size)
    if description == FIRST_ONLY:
        return PlannedModel(lambda inputs: inputs["source_tokens"].tolist()[:1], bundle.manifest.vocabulary.size)
    return open_planned(bundle, session)
