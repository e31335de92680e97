"""Pairs of sentences in batches of like lengths, as training takes them. Of this environment's packages torch alone."""

import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

BATCH_TOKENS: Final = 2048
"""Padding counted, of the longer side."""
POOL: Final = 4096
"""Sentences that are sorted by length at a time."""


class Pair(NamedTuple):
    """A sentence and its translation as ids, each ending in `</s>`."""

    source: list[int]
    target: list[int]


def batches(pairs: Sequence[Pair], pad: int, generator: random.Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of like lengths for ever, each pair once an epoch."""
    while True:
        order = generator.sample(range(len(pairs)), len(pairs))
        for first in range(0, len(order), POOL):
            pool = sorted((pairs[place] for place in order[first : first + POOL]), key=_length)
            cut = list(_cut(pool))
            for batch in generator.sample(cut, len(cut)):
                yield padded([pair.source for pair in batch], pad), padded([pair.target for pair in batch], pad)


def padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Return rows of ids as (B, S), filled up with pad."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])


def _length(pair: Pair) -> tuple[int, int]:
    return max(len(pair.source), len(pair.target)), len(pair.source)


def _cut(pool: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Yield the pairs, which are sorted, in batches of up to BATCH_TOKENS."""
    batch: list[Pair] = []
    for pair in pool:
        if batch and (len(batch) + 1) * _length(pair)[0] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(pair)
    yield batch
