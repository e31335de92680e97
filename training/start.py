"""Beginning a run with the weights of another: a larger range of sizes, more data, or a language pair that shares a side."""

import shutil
from pathlib import Path

import torch
from pydantic import Field

from training.checkpoint import read_checkpoint
from training.config import Config, RecipeError
from training.models.base import SequenceToSequence


class StartConfig(Config):
    """The `start_from` section of a recipe (transfer as in Zoph et al. 2016, arXiv:1604.02201, or a curriculum in stages).

    Attributes:
        run: name of a finished run in the same folder as the new one, which is also the name of its recipe.
        parts: beginnings of the names of weights to take, such as `encoder` or `decoder.cell`; all by default.
        tokenizers: files of that run to use unchanged, such as `source.model`: embeddings belong to their vocabulary.
    """

    run: str
    parts: tuple[str, ...] = ("",)
    tokenizers: tuple[str, ...] = Field(default=())

    def check(self, run: Path) -> None:
        """Raise RecipeError where the earlier run, or a tokenizer of it, is missing; before --restart throws anything away."""
        folder = self._folder(run)
        for name in self.tokenizers:
            if not (folder / name).is_file():
                raise RecipeError(f"start_from.tokenizers: {folder} has no {name}")

    def take_tokenizers(self, run: Path) -> None:
        """Copy the tokenizers, after a check, into the new run's folder `run`."""
        self.check(run)
        for name in self.tokenizers:
            shutil.copyfile(self._folder(run) / name, run / name)

    def take_weights(self, model: SequenceToSequence, run: Path) -> int:
        """Overwrite the weights of `model` that `parts` names, and return how many numbers that were.

        RecipeError where a part names none, or one whose shape the recipe changed.
        """
        weights = read_checkpoint(self._folder(run) / "averaged.pt")["model"]
        own = model.state_dict()
        taken = 0
        for part in self.parts:
            names = [name for name in own if name.startswith(part)]
            if not names:
                raise RecipeError(f"start_from.parts: given {part!r}, which no weight's name begins with")
            for name in names:
                if name not in weights or weights[name].shape != own[name].shape:
                    there = tuple(weights[name].shape) if name in weights else "nothing"
                    raise RecipeError(
                        f"start_from: {name} is {tuple(own[name].shape)} here and {there} in {self.run}; "
                        "allowed: the same architecture, or `parts` without it"
                    )
                with torch.no_grad():
                    own[name].copy_(weights[name])
                taken += own[name].numel()
        return taken

    def _folder(self, run: Path) -> Path:
        folder = run.resolve().parent / self.run
        if not (folder / "averaged.pt").is_file():
            raise RecipeError(
                f"start_from.run: {folder} holds no finished run; allowed: first `beamstep train {self.run} --run {folder}`"
            )
        return folder
