"""What models of words have alike: vocabularies to be built for, embeddings, and tokens that are never said."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from training.config import ModelConfig, RecipeError
from training.models.base import SequenceToSequence
from training.problems.base import Problem
from training.problems.translation import TranslationProblem
from training.vocabulary import BOS, PAD


class TextToTextConfig(ModelConfig):
    """The `model` section of what reads text and speaks text."""

    kind: str

    def build(self, problem: Problem) -> SequenceToSequence:
        """Make the model for the problem's vocabularies."""
        if not isinstance(problem, TranslationProblem):
            raise RecipeError(
                f"model.kind: given {self.kind!r} with a problem that is not text to text; allowed: translation, reverse"
            )
        return self.build_for(problem.tokenizers.source.size, problem.tokenizers.target.size)

    @abstractmethod
    def build_for(self, source_size: int, target_size: int) -> SequenceToSequence:
        """Make the model for vocabularies of these sizes."""


def word_embedding(vocabulary_size: int, size: int) -> nn.Embedding:
    """Return an embedding of unit-length rows in the mean, small enough to be tied to an output."""
    embedding = nn.Embedding(vocabulary_size, size)
    nn.init.normal_(embedding.weight, std=1 / math.sqrt(size))
    return embedding


def never_said(vocabulary_size: int) -> Tensor:
    """Return what is added to logits, (V,) float32: -inf at `pad` and `bos`, 0 elsewhere."""
    forbidden = torch.zeros(vocabulary_size)
    forbidden[[PAD, BOS]] = float("-inf")
    return forbidden
