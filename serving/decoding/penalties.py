"""What stands between a log-probability and a score."""

import math

import numpy as np

from serving.decoding.options import LengthNormalization
from serving.decoding.step import FloatArray, IntArray


def length_penalty(length: int, alpha: float, normalization: LengthNormalization = LengthNormalization.GNMT) -> float:
    """Return what a log-probability is divided by, so that short hypotheses do not win for being short.

    GNMT: lp(Y) = ((5 + |Y|) / 6) ** alpha, Wu et al. 2016, eq. 14 (arXiv:1609.08144). PLAIN: |Y| ** alpha. |Y| counts `eos`;
    alpha 0 means off. Neither ever falls as the length grows, which `beam.py` relies on to know when no live hypothesis can
    win any more.
    """
    base = (5 + length) / 6 if normalization is LengthNormalization.GNMT else float(length)
    return math.pow(base, alpha)


def penalise_repetition(log_prob: FloatArray, candidate: IntArray, tokens: IntArray, penalty: float) -> FloatArray:
    """Multiply the log-prob of candidates that a hypothesis holds already (Keskar et al. 2019, arXiv:1909.05858).

    A hypothesis of t tokens holds at most t different ones, and none becomes more likely, so its K best continuations are among its
    K + t best before the penalty: so many candidates make the search exact.

    Args:
        log_prob: (rows, k) float32.
        candidate: (rows, k) int64, the tokens they are of.
        tokens: (rows, t) int64, what each row holds.
        penalty: from 1.

    Returns:
        (rows, k) float32.
    """
    held = (candidate[:, :, None] == tokens[:, None, :]).any(axis=2)
    with np.errstate(over="ignore"):
        return np.where(held, log_prob * np.float32(penalty), log_prob)
