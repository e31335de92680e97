"""What every model of words has: embeddings, and tokens that it never says."""

import math

import torch
from torch import Tensor, nn

from training.vocabulary import BOS, PAD


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
