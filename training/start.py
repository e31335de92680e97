"""Beginning a run with the weights of another: a larger range of sizes, more data, or a language pair that shares a side.

An ensemble begins with those of several runs, each of which becomes a member.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field, field_validator
from torch import Tensor

from training.checkpoint import read_checkpoint
from training.config import Config, RecipeError
from training.models.base import SequenceToSequence
from training.models.ensemble import EnsembleDecoder


class StartConfig(Config):
    """The `start_from` section of a recipe (transfer as in Zoph et al. 2016, arXiv:1604.02201, or a curriculum in stages).

    Attributes:
        run: name of a finished run in the same folder as the new one, which is also the name of its recipe. Of an ensemble, one
            for each member, in their order.
        parts: beginnings of the names of weights to take, such as `encoder` or `decoder.cell`; all by default. Of an ensemble, of
            every member's.
        tokenizers: files of that run to use unchanged, such as `source.model`: embeddings belong to their vocabulary. Of an
            ensemble, files that all of its runs have alike.
    """

    run: str | tuple[str, ...]
    parts: tuple[str, ...] = ("",)
    tokenizers: tuple[str, ...] = Field(default=())

    @field_validator("run")
    @classmethod
    def _some_run(cls, run: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """Refuse an empty list."""
        if not run:
            raise ValueError("no run; allowed: a run's name, or one for each member of an ensemble")
        return run

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs by name, one or several."""
        return (self.run,) if isinstance(self.run, str) else self.run

    def check(self, run: Path) -> None:
        """Raise RecipeError where an earlier run, or a tokenizer of it, is missing; before --restart throws anything away."""
        folders = [_folder(run, name) for name in self.runs]
        for name in self.tokenizers:
            for folder in folders:
                if not (folder / name).is_file():
                    raise RecipeError(f"start_from.tokenizers: {folder} has no {name}")
                if (folder / name).read_bytes() != (folders[0] / name).read_bytes():
                    raise RecipeError(
                        f"start_from.tokenizers: {name} is not the same in {folders[0]} and {folder}; "
                        "allowed: runs that share their vocabulary"
                    )

    def take_tokenizers(self, run: Path) -> None:
        """Copy the tokenizers, after a check, into the new run's folder `run`."""
        self.check(run)
        for name in self.tokenizers:
            shutil.copyfile(_folder(run, self.runs[0]) / name, run / name)

    def take_weights(self, model: SequenceToSequence, run: Path) -> int:
        """Overwrite the weights of `model` that `parts` names, and return how many numbers that were.

        RecipeError where a part names none, or one whose shape the recipe changed; or the runs are not as many as the members.
        """
        if isinstance(self.run, str):
            return self._take(model.state_dict(), self.run, run)
        members = len(model.decoder.members) if isinstance(model.decoder, EnsembleDecoder) else 0
        if members != len(self.run):
            raise RecipeError(
                f"start_from.run: given {len(self.run)} runs; allowed here: "
                + (
                    f"{members}, as many as model.members"
                    if members
                    else "one run's name, for the model is no ensemble"
                )
            )
        return sum(self._take(_member(model, i), name, run) for i, name in enumerate(self.run))

    def _take(self, own: Mapping[str, Tensor], name_of_run: str, run: Path) -> int:
        """Overwrite weights in place, named as in the run that they come from."""
        weights = read_checkpoint(_folder(run, name_of_run) / "averaged.pt")["model"]
        taken = 0
        for part in self.parts:
            names = [name for name in own if name.startswith(part)]
            if not names:
                raise RecipeError(f"start_from.parts: given {part!r}, which no weight's name begins with")
            for name in names:
                if name not in weights or weights[name].shape != own[name].shape:
                    there = tuple(weights[name].shape) if name in weights else "nothing"
                    raise RecipeError(
                        f"start_from: {name} is {tuple(own[name].shape)} here and {there} in {name_of_run}; "
                        "allowed: the same architecture, or `parts` without it"
                    )
                with torch.no_grad():
                    own[name].copy_(weights[name])
                taken += own[name].numel()
        return taken


def _member(model: SequenceToSequence, i: int) -> dict[str, Tensor]:
    """Return the weights of member i of an ensemble under the names that they have in a model of their own."""
    sides = (f"encoder.members.{i}.", f"decoder.members.{i}.")
    return {
        side.split(".", 1)[0] + "." + name.removeprefix(side): tensor
        for name, tensor in model.state_dict().items()
        for side in sides
        if name.startswith(side)
    }


def _folder(run: Path, name: str) -> Path:
    """Return the folder of an earlier run, which is beside the new one's `run`."""
    folder = run.resolve().parent / name
    if not (folder / "averaged.pt").is_file():
        raise RecipeError(
            f"start_from.run: {folder} holds no finished run; allowed: first `beamstep train {name} --run {folder}`"
        )
    return folder
