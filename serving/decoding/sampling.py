"""Drawing tokens at random, so that the same seed gives the same text in any batch."""

import numpy as np
from numpy.typing import NDArray

from serving.decoding.chooser import Chosen, Offer
from serving.decoding.options import Sampling
from serving.decoding.step import FloatArray, IntArray


class Sampler:
    """The `chooser.Chooser` of one request that is sampled: every row is one sample and goes its own way."""

    def __init__(self, sampling: Sampling, count: int) -> None:
        self._sampling = sampling
        self._count = count
        self._sample: IntArray = np.arange(count)  # which of the samples each row is

    def choose(self, step: int, offer: Offer) -> Chosen:
        """Draw one continuation for every row."""
        best_first = (-offer.adjusted).argsort(axis=1, kind="stable")  # a repetition penalty may have changed the order
        uniform = uniforms(self._sampling.seed, step, self._count)[self._sample]
        rows = np.arange(len(best_first))
        drawn = draw(offer.adjusted[rows[:, None], best_first], uniform, self._sampling)
        return Chosen(rows, best_first[rows, drawn])

    def keep(self, places: IntArray) -> None:
        """Forget the samples that have ended."""
        self._sample = self._sample[places]


def draw(log_prob: FloatArray, uniform: NDArray[np.float64], sampling: Sampling) -> IntArray:
    """Draw one candidate for every row: temperature, then the `top_k` best, then the nucleus of `top_p`.

    Args:
        log_prob: (rows, k) float32, best first, k at least `top_k` or all there are; -inf is never drawn unless all are.
        uniform: (rows,) float64 in [0, 1): where in the cumulated probability each row draws.
        sampling: how to draw.

    Returns:
        (rows,) int64, the place among the candidates.
    """
    scaled = log_prob[:, : sampling.top_k].astype(np.float64) / sampling.temperature
    with np.errstate(invalid="ignore"):  # -inf - -inf: no candidate at all, and whatever is drawn leads nowhere
        probability = np.nan_to_num(np.exp(scaled - scaled[:, :1]))  # of the best 1
    cumulated = probability.cumsum(axis=1)
    # The nucleus (Holtzman et al. 2020, arXiv:1904.09751): the fewest best whose share reaches top_p.
    before = cumulated - probability
    in_nucleus = before < sampling.top_p * cumulated[:, -1:]
    in_nucleus[:, 0] = True
    last = in_nucleus.sum(axis=1) - 1
    mass = cumulated[np.arange(len(last)), last]
    drawn: IntArray = np.minimum((cumulated <= (uniform * mass)[:, None]).sum(axis=1), last)
    return drawn


def uniforms(seed: int, step: int, count: int) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1), a function of the seed, the step and their places alone.

    Philox is a counter-based generator (Salmon et al. 2011): the seed is its key and the step part of its counter, so nothing is
    carried from step to step, and sample i gets number i whoever else is still being drawn.
    """
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, step]))
    return generator.random(count)
