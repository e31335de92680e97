"""Serves planned models, watched, in a process of its own: python -m tests.fakes.planned_server '{"models": "", ...}'."""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.faults.troubled import CURSE
from benchmarks.faults.watched import Setup, run
from serving.tasks.translation import Translation
from tests.fakes.bundles import write_bundle
from tests.fakes.planned import PlannedModel, open_planned

TASKS = ("translation", "captioning", "convex_hull", "delaunay", "tour")


class RaisingAtCurse(PlannedModel):
    """Raises in every step that has a row of a cursed source, from the third token on."""

    curse: list[int]

    def step(self, inputs, memory, state, *, attention=False):
        outputs, after = super().step(inputs, memory, state, attention=attention)
        self.fail(outputs, self.cursed(after) & (after["state.place"][:, 0] > 2))
        return outputs, after

    def cursed(self, state):
        return (state["state.plan"][:, : len(self.curse)] == self.curse).all(axis=1)

    def fail(self, outputs, cursed):
        if cursed.any():
            raise RuntimeError("secret: /srv/weights.bin does not fit")


class NumberlessAtCurse(RaisingAtCurse):
    """Says NaN for the rows of cursed sources."""

    def fail(self, outputs, cursed):
        outputs.log_prob[cursed] = np.nan
        outputs.query_log_prob[cursed] = np.nan


TROUBLED = {"raising": RaisingAtCurse, "numberless": NumberlessAtCurse}


def write_models(models: Path, *, troubled: bool) -> None:
    """Write the bundles, unless they are there."""
    if any(models.iterdir()):
        return
    for task in TASKS:
        write_bundle(models, task)
    for name in TROUBLED if troubled else ():
        write_bundle(models, "translation", name)


def main(setup: Setup) -> None:
    def open_model(bundle, session):
        model = open_planned(bundle, session)
        model.step_s = setup.step_s
        if bundle.manifest.name in TROUBLED:
            model.__class__ = TROUBLED[bundle.manifest.name]
            model.curse = Translation(bundle).source(CURSE).inputs["source_tokens"].tolist()[:-1]
        return model

    write_models(Path(setup.models), troubled=setup.kind == "troubled")
    run(setup, open_model)


if __name__ == "__main__":
    main(Setup(**json.loads(sys.argv[1])))
