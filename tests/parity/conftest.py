"""Every family of models exported once; the tests of this folder share the bundles."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from export.certification.sources import Source
from export.pipeline import ExportSettings, export_run
from export.sources import held_back
from serving.bundle import Bundle, load_bundle
from serving.session import OnnxModel, SessionConfig
from tests.fakes.runs import FAMILIES, untrained_run
from training.run import Run

INPUTS = 12


@dataclass(frozen=True)
class Exported:
    """A family's run and the bundle that was made of it; `model` runs the bundle, `sources` are held-back inputs."""

    family: str
    run: Run
    bundle: Bundle
    model: OnnxModel
    sources: list[Source]


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """What was exported so far."""
    return {}


@pytest.fixture
def export_family(families: dict[str, Exported], tmp_path_factory: pytest.TempPathFactory):
    """Export a family, the first time it is asked for."""

    def export(family: str) -> Exported:
        if family not in families:
            folder: Path = tmp_path_factory.mktemp(family)
            torch.set_num_threads(1)
            run = untrained_run(family, folder / "run")
            path = export_run(
                run, ExportSettings(folder / "models", precisions=("fp32",), inputs=INPUTS), progress=print
            )
            bundle = load_bundle(path)
            sources = held_back(run.problem, run.recipe.task, INPUTS).sources
            families[family] = Exported(family, run, bundle, OnnxModel(bundle, SessionConfig(step_threads=1)), sources)
        return families[family]

    return export


@pytest.fixture(params=FAMILIES)
def exported(request: pytest.FixtureRequest, export_family) -> Exported:
    """Each family in turn."""
    return export_family(request.param)


@pytest.fixture
def translation(export_family) -> Exported:
    """The family that the tests of one bundle use."""
    return export_family("gru")
