"""Recipes: one YAML file says everything a training run depends on, but for the data's path."""

from pathlib import Path
from typing import Annotated, Any, Final, Self, get_args

from pydantic import Field, ValidationError, model_validator

from training.config import Config, RecipeError, Task
from training.models.ensemble import AnyMember, EnsembleConfig
from training.problems.captioning import CaptioningConfig
from training.problems.delaunay import DelaunayConfig
from training.problems.hull import HullConfig
from training.problems.reverse import ReverseConfig
from training.problems.tour import TourConfig
from training.problems.translation import TranslationConfig
from training.start import StartConfig
from training.trainer import TrainingConfig
from training.variants import packaged_recipes, read_content

# To add a problem: define its config class beside it (training/config.py says what it must have), and list it here. Models that
# decode by themselves are listed in training/models/ensemble.py, since they may be members of one.
AnyProblem = Annotated[
    ReverseConfig | TranslationConfig | CaptioningConfig | HullConfig | DelaunayConfig | TourConfig,
    Field(discriminator="kind"),
]
AnyModel = Annotated[AnyMember | EnsembleConfig, Field(discriminator="kind")]


MIGRATION: Final = 0.7
"""Of 0, 0.5, 0.7 and 1, log-probs of an attentive GRU were nearest to float32's with this (docs/log.md, 8-bit arithmetic)."""


class DataSource(Config):
    """A set of training data and its licence in short; goes into the bundle's provenance."""

    name: str
    licence: str


class LengthRule(Config):
    """The default maximum length of an answer: `per_source` times the source's length, plus `plus`, in tokens without `eos`."""

    per_source: float = Field(ge=0)
    plus: int = Field(ge=0)


class DecodingDefaults(Config):
    """What a request gets where it asks for nothing.

    Attributes:
        patience: a search is over once so many times `beam_size` hypotheses have ended; None: when nothing better can come.
        symmetries: of points alone: in how many of the eight symmetries of the square they are decoded.
    """

    beam_size: int = Field(default=5, ge=1)
    length_penalty: float = Field(default=1.0, ge=0, le=5)
    patience: float | None = Field(default=None, ge=0.1, le=10)
    min_length: int = Field(default=0, ge=0)
    max_length: LengthRule
    symmetries: int = Field(default=1, ge=1, le=8)


class DecodingLimits(Config):
    """The most a request may ask for; `source_length` counts positions of the encoder's input (pieces, or points)."""

    beam_size: int = Field(default=16, ge=1)
    source_length: int = Field(ge=1)
    min_source_length: int = Field(default=1, ge=1)
    max_length: int = Field(ge=1)


class ExportConfig(Config):
    """What the bundle's manifest says of decoding, and how 8 bits are made.

    Attributes:
        migration: how much of the differences between the channels of an activation moves into the weights that read it, see
            `export.products.quantise`. A model whose export is refused for what 8 bits change may pass with another.
    """

    defaults: DecodingDefaults
    limits: DecodingLimits
    migration: float = Field(default=MIGRATION, ge=0, le=1)

    @model_validator(mode="after")
    def _defaults_are_within_limits(self) -> Self:
        """Say before training what the manifest would refuse after it."""
        if self.defaults.beam_size > self.limits.beam_size:
            raise ValueError(
                f"defaults.beam_size {self.defaults.beam_size} is above limits.beam_size {self.limits.beam_size}"
            )
        if self.limits.min_source_length > self.limits.source_length:
            raise ValueError(
                f"limits.min_source_length {self.limits.min_source_length} is above limits.source_length "
                f"{self.limits.source_length}"
            )
        return self


class Recipe(Config):
    """One training run.

    Attributes:
        name: the run's and the bundle's name.
        description: one sentence for people; goes into the manifest.
        seed: of the weights, the order of the data and dropout.
        start_from: a run whose weights this one begins with, or the runs of an ensemble's members; None: fresh ones.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    description: str
    seed: int = Field(default=1, ge=0)
    start_from: StartConfig | None = None
    problem: AnyProblem
    model: AnyModel
    training: TrainingConfig
    export: ExportConfig
    data_sources: tuple[DataSource, ...]

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        """Refuse to write random weights."""
        if self.training.steps == 0 and self.start_from is None:
            raise ValueError(
                "training.steps 0 without start_from leaves random weights; allowed: at least 1, or start_from"
            )
        return self

    @property
    def task(self) -> Task:
        """What a model trained by this recipe does."""
        return self.problem.task


def find_recipe(name_or_path: str) -> Path:
    """Return the file of a recipe given by path, or by the name of one that comes with the package."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    packaged = packaged_recipes()
    if name_or_path in packaged:
        return packaged[name_or_path]
    raise RecipeError(
        f"recipe: {name_or_path!r} is neither a file nor a packaged recipe; allowed: a path, or one of {', '.join(packaged)}"
    )


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe, with what it builds on; RecipeError names every key at fault, what was given and is allowed."""
    try:
        return Recipe.model_validate(read_content(path))
    except ValidationError as error:
        faults = "\n".join(f"  {_fault(dict(detail))}" for detail in error.errors())
        raise RecipeError(f"{path}:\n{faults}") from error


def _fault(detail: dict[str, Any]) -> str:
    """Say one fault as `key: what is allowed, given what`."""
    key = ".".join(str(part) for part in detail["loc"]) or "recipe"
    match detail["type"]:
        case "missing":
            return f"{key}: missing; it is required"
        case "extra_forbidden":
            return f"{key}: unknown key, given {detail['input']!r}; allowed: {', '.join(_keys_beside(detail['loc']))}"
        case _:
            return f"{key}: given {detail['input']!r}; {detail['msg'].removeprefix('Value error, ')}"


def _keys_beside(location: tuple[str | int, ...]) -> list[str]:
    """Return the keys allowed where an unknown one stands, walking the config classes down to it."""
    sections: list[type[Config]] = [Recipe]
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        below = [section.model_fields[part].annotation for section in sections if part in section.model_fields]
        tagged = [section for section in sections if _kind_of(section) == part]
        sections = tagged or [section for annotation in below for section in _sections_in(annotation)]
    return sorted({key for section in sections for key in section.model_fields})


def _kind_of(section: type[Config]) -> str | None:
    """Return the value of `kind` that chooses this section in a union."""
    field = section.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])


def _sections_in(annotation: Any) -> list[type[Config]]:
    """Return the config classes that an annotation such as `tuple[A | B, ...]` mentions."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]
