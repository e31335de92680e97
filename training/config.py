"""What problems and models state about themselves in a recipe; recipe.py gathers them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from training.models.base import SequenceToSequence
from training.problems.base import Problem

Task = Literal["translation", "captioning", "convex_hull", "delaunay", "tour"]


class RecipeError(ValueError):
    """Whoever wrote the recipe or the command must change it; the message says what was given and what is allowed."""


class Config(BaseModel):
    """A section of a recipe: typed, frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemConfig(Config, ABC):
    """The `problem` section: which data, prepared how.

    A subclass adds `kind: Literal["<name>"]` and is listed in recipe.AnyProblem.

    Attributes:
        task: what a model trained on it does; the bundle's task.
        needs_data: whether it can be trained on with a data folder only.
        tokenizer_files: names of files in the run folder that travel into the bundle.
    """

    task: ClassVar[Task]
    needs_data: ClassVar[bool] = False
    tokenizer_files: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def build(self, data: Path | None, run: Path, seed: int) -> Problem:
        """Make the problem.

        Args:
            data: the data folder; None where only the model is wanted, and then the problem knows its vocabularies (from
                the files in `run`) but raises RecipeError when asked for batches it has no data for.
            run: the run folder, where tokenizers and other prepared files are kept.
            seed: of everything random in it.
        """


class ModelConfig(Config, ABC):
    """The `model` section: an architecture and its sizes.

    A subclass adds `kind: Literal["<name>"]` and is listed in recipe.AnyModel.
    """

    @abstractmethod
    def build(self, problem: Problem) -> SequenceToSequence:
        """Make the model with fresh weights; `problem` tells vocabulary sizes. RecipeError where the two do not go together."""
