"""The eight symmetries of the square: under each, hulls, triangulations and short tours stay what they are.

To a model each is another set of points, in which it errs elsewhere; the best of what it finds in several is better than what it
finds in one (Kwon et al. 2020, POMO, arXiv:2010.16011, section 4.3).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SYMMETRIES: Final = (0, 3, 5, 6, 1, 2, 4, 7)
"""Bits say what is done to the points: 1 turns the sign of x, 2 that of y, 4 then swaps the axes. First the four rotations."""


def transformed(points: NDArray[np.float64], symmetry: int) -> NDArray[np.float64]:
    """Return the points (P, 2) in one of the symmetries; nothing is rounded."""
    signs = np.array([-1.0 if symmetry & 1 else 1.0, -1.0 if symmetry & 2 else 1.0])
    turned: NDArray[np.float64] = points * signs
    return turned[:, ::-1].copy() if symmetry & 4 else turned


def mirrors(symmetry: int) -> bool:
    """Say whether it makes left turns right turns."""
    return symmetry.bit_count() % 2 == 1
