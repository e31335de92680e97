"""A run folder: recipe.yaml, tokenizers, checkpoints, metrics.jsonl, averaged.pt."""

from dataclasses import dataclass
from pathlib import Path

from training.checkpoint import read_checkpoint
from training.config import RecipeError
from training.models.base import SequenceToSequence
from training.problems.base import Problem
from training.recipe import Recipe, read_recipe


@dataclass(frozen=True)
class Run:
    """A run that has weights to use; a finished one unless it was loaded for a look at it.

    Attributes:
        path: its folder.
        recipe: what it was trained by.
        problem: its data; without a data folder it knows vocabularies only, unless it makes its own data.
        model: with its weights, on the CPU, in evaluation mode.
    """

    path: Path
    recipe: Recipe
    problem: Problem
    model: SequenceToSequence

    @property
    def tokenizers(self) -> dict[str, Path]:
        """The files that travel into the bundle, by name."""
        return {name: self.path / name for name in self.recipe.problem.tokenizer_files}


def newest_weights(path: Path) -> Path:
    """Return the file of a run's averaged weights, or of its last checkpoint while it trains."""
    averaged = path / "averaged.pt"
    return averaged if averaged.is_file() else path / "checkpoints" / "last.pt"


def load_run(path: Path, data: Path | None = None, weights: Path | None = None) -> Run:
    """Load a finished run, or one under way where `weights` are given.

    Args:
        path: the run folder.
        data: the data folder; needed for the problem's batches only.
        weights: a checkpoint of the run; None takes the averaged weights.

    Raises:
        RecipeError: the folder holds no finished run, or weights that its recipe does not describe.
    """
    file_of_weights = weights or path / "averaged.pt"
    for file in (path / "recipe.yaml", file_of_weights):
        if not file.is_file():
            raise RecipeError(f"{file}: missing; allowed: the folder of a run that has ended")
    recipe = read_recipe(path / "recipe.yaml")
    problem = recipe.problem.build(data, path, recipe.seed)
    model = recipe.model.build(problem)
    content = read_checkpoint(file_of_weights)
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        raise RecipeError(f"{file_of_weights}: has weights of another recipe than {path / 'recipe.yaml'}") from error
    return Run(path, recipe, problem, model.eval())
