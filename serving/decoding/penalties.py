"""What stands between a log-probability and a score."""

import math


def length_penalty(length: int, alpha: float) -> float:
    """Return what a log-probability is divided by, so that short hypotheses do not win for being short.

    lp(Y) = ((5 + |Y|) / 6) ** alpha, Wu et al. 2016, eq. 14 (arXiv:1609.08144). |Y| counts `eos`; alpha 0 means off. It never
    falls as the length grows, which `beam.py` relies on to know when no live hypothesis can win any more.
    """
    return math.pow((5 + length) / 6, alpha)
