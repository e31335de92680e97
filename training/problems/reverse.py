"""Reverse: the toy. Letters apart by spaces come back in the opposite order; learnt in seconds, and served as any translation."""

from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from training.config import ProblemConfig, Task
from training.problems.text import train_tokenizer
from training.problems.translation import (
    BatchLimits,
    Sampled,
    TextPair,
    TextPairs,
    TranslationProblem,
    has_tokenizers,
    load_tokenizers,
)


class ReverseConfig(ProblemConfig):
    """The `problem` section of a reversing recipe; it makes its own data."""

    kind: Literal["reverse"]
    task: ClassVar[Task] = "translation"
    tokenizer_files: ClassVar[tuple[str, ...]] = ("source.model", "target.model")
    letters: str = Field(default="abcdefgh", min_length=2)
    min_length: int = Field(default=1, ge=1)
    max_length: int = Field(default=6, ge=1)
    training_pairs: int = Field(default=3000, ge=1)
    validation_pairs: int = Field(default=100, ge=1)
    batch: BatchLimits = BatchLimits(tokens=600)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is above max_length {self.max_length}")
        return self

    def build(self, data: Path | None, run: Path, seed: int) -> TranslationProblem:  # noqa: ARG002 - makes its own data
        """Draw the pairs; train the tokenizers unless `run` has them."""
        random = np.random.default_rng(seed)
        training = [self._draw(random) for _ in range(self.training_pairs)]
        validation = [self._draw(random) for _ in range(self.validation_pairs)]
        if not has_tokenizers(run):
            size = 2 * len(set(self.letters)) + 5  # each letter after a space and alone, the space, the special ids
            for name in self.tokenizer_files:
                train_tokenizer((pair.source for pair in training), size, run / name, required="")
        tokenizers = load_tokenizers(run)
        pairs = TextPairs([Sampled(tokenizers.encode(training), None)], tokenizers.encode(validation), validation)
        return TranslationProblem(tokenizers, pairs, self.batch, seed)

    def _draw(self, random: np.random.Generator) -> TextPair:
        """Draw letters of a uniform length, and their reverse."""
        letters = random.choice(list(self.letters), random.integers(self.min_length, self.max_length + 1))
        return TextPair(" ".join(letters), " ".join(letters[::-1]))
