"""What engines of our own share: positions as fractions of the box in whole numbers, and the table of pairs.

And what an engine and its kernels both have to know, here where neither has to import the other.

A 32-bit fraction resolves a box of 15 sigma_AA to 3.5e-9, three hundred times finer than single precision, and the
difference of two wraps around as the minimum image does.
"""

from __future__ import annotations

import os

import numpy as np

from ..liquid.kob_andersen import EPSILON, SIGMA, cutoffs

BOX = 2.0**32
"""Edge of the box in units of the stored positions."""

LANES = 16
"""Runs that share the vectors of the lane engine."""
ALIGNMENT = 4 * LANES
"""Bytes of such a vector."""

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") == "1"
"""Whether Numba's simulator stands for the GPU."""


def to_fixed(positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Positions as signed 32-bit fractions of the box, of the same shape; where they wrap, the box does."""
    fraction = np.asarray(positions, dtype=np.float64) / box
    return np.rint((fraction - np.rint(fraction)) * BOX).astype(np.int64).astype(np.uint32).view(np.int32)


def pair_table(potential: str) -> np.ndarray:
    """What a force loop needs of each pair of types, shape (2, 2, 4): 48 eps sigma^12, 24 eps sigma^6, squared
    cutoff, and the slope that force-shifting takes away (0 for the other truncations)."""
    epsilon, sigma, reach = np.array(EPSILON), np.array(SIGMA), cutoffs(potential)
    c12, c6 = 48 * epsilon * sigma**12, 24 * epsilon * sigma**6
    slope = (c6 / reach**6 - c12 / reach**12) / reach if potential == "force-shifted" else np.zeros_like(c6)
    return np.stack([c12, c6, reach**2, slope], axis=-1)
