r"""Structure in hand-made numbers: the field's expert features (Boattini et al., PRL 127, 088007, 2021).

Radial densities, bond-order parameters, and averages of both over neighbors. A linear model on these is the baseline
that a network has to beat, and the first convolution with Gaussian radial functions contains them (Pezzicoli et al.,
Appendix C). Everything here is invariant under rotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import csr_array

from ..equivariance.so3 import spherical_harmonics
from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TYPE_NAMES
from ..liquid.periodic import minimum_image, neighbor_pairs

_AT_ONCE = 200_000
"""Neighbors worked on together, so that memory stays flat."""


def radial_densities(
    configuration: Configuration, centers: Sequence[float], width: float, field: str = "positions"
) -> np.ndarray:
    r"""How many neighbors of each type are about a distance r away.

    .. math:: G_i(r, \delta, s) = \sum_{j \in s} e^{-(r_{ij} - r)^2 / 2\delta^2}

    Parameters
    ----------
    configuration : at least its box and the field
    centers : distances r, sigma_AA
    width : delta, sigma_AA; neighbors farther than four widths beyond the last center are left out
    field : "positions" or "inherent_positions"

    Returns
    -------
    shape (N, 2 len(centers)), dimensionless: all centers for type A, then for type B.

    Raises
    ------
    ValueError
        If a number is not positive, the field is missing, or the box is too small.
    """
    at = _positive("centers", centers)
    (delta,) = _positive("width", [width])
    n, kinds = configuration.n_particles, len(TYPE_NAMES)
    result = np.zeros((n * kinds, len(at)))
    for i, j, vector in _neighbors(configuration, at.max() + 4 * delta, field):
        distance = np.linalg.norm(vector, axis=1)
        shells = np.exp(-((distance[:, None] - at) ** 2) / (2 * delta**2))
        result += _sum(shells, i * kinds + configuration.types[j], n * kinds)
    return result.reshape(n, -1)


def bond_order(
    configuration: Configuration,
    degrees: Sequence[int],
    cutoff: float | None = None,
    *,
    centers: Sequence[float] | None = None,
    width: float = 0.1,
    field: str = "positions",
) -> np.ndarray:
    r"""Steinhardt's bond-order parameters: how strongly the directions of neighbors show a symmetry of degree l.

    .. math:: q_{lm} = \sum_j w_{ij} Y_{lm}(\hat a_{ij}) \Big/ \sum_j w_{ij}, \\
              q_l = \Big(\frac{4\pi}{2l + 1} \sum_m |q_{lm}|^2\Big)^{1/2}

    (Steinhardt, Nelson, Ronchetti, PRB 28, 784, 1983.) With a cutoff every neighbor below it has weight 1; with centers
    and a width the weights are those of :func:`radial_densities`, types not told apart.

    Parameters
    ----------
    configuration : at least its box and the field
    degrees : l
    cutoff : sigma_AA; give this or ``centers``
    centers : distances r, sigma_AA
    width : delta, sigma_AA
    field : "positions" or "inherent_positions"

    Returns
    -------
    shape (N, len(degrees)) or (N, len(centers), len(degrees)), between 0 and 1; 0 where nobody is near.

    Raises
    ------
    ValueError
        If both or neither of cutoff and centers are given, a number is out of range, the field is missing, or the box
        is too small.

    Examples
    --------
    >>> from glasslit.testing import random_liquid
    >>> bond_order(random_liquid(200), [4, 6], cutoff=1.4).shape
    (200, 2)
    """
    wanted = np.asarray(degrees, dtype=int)
    if wanted.ndim != 1 or not len(wanted) or wanted.min() < 0 or wanted.max() > 11:
        raise ValueError(f"degrees {list(degrees)}; expected whole numbers from 0 to 11, which is as far as e3nn goes")
    if (cutoff is None) == (centers is None):
        raise ValueError(f"cutoff = {cutoff} and centers = {centers}; expected one of them")
    at = _positive("centers", centers) if centers is not None else _positive("cutoff", [cutoff])
    (delta,) = _positive("width", [width])
    reach = at.max() if cutoff is not None else at.max() + 4 * delta
    top = int(wanted.max())
    n = configuration.n_particles
    total, weight = np.zeros((n, len(at), (top + 1) ** 2)), np.zeros((n, len(at)))
    parity = np.repeat((-1.0) ** np.arange(top + 1), 2 * np.arange(top + 1) + 1)
    for i, _, vector in _neighbors(configuration, reach, field):
        there = spherical_harmonics(top, torch.from_numpy(vector[: len(i) // 2])).numpy()
        harmonics = np.concatenate([there, parity * there])  # the way back of each pair follows the way there
        distance = np.linalg.norm(vector, axis=1)[:, None]
        w = np.ones((len(i), 1)) if cutoff is not None else np.exp(-((distance - at) ** 2) / (2 * delta**2))
        weight += _sum(w, i, n)
        for k in range(len(at)):
            near = np.flatnonzero(w[:, k] > 1e-18)  # less does not change a sum in double precision
            total[:, k] += _table(w[near, k], i[near], near, (n, len(i))) @ harmonics
    mean = total / np.where(weight > 1e-12, weight, np.inf)[:, :, None]
    squares = np.add.reduceat(mean**2, np.arange(top + 1) ** 2, axis=-1)
    # e3nn's Y^l squared sums to 2l + 1, the textbook's to (2l + 1) / 4 pi
    q = np.sqrt(squares / (2 * np.arange(top + 1) + 1))
    return q[:, 0, wanted] if cutoff is not None else q[:, :, wanted]


def averaged(
    values: np.ndarray,
    configuration: Configuration,
    cutoff: float = 2.3,
    generations: int = 1,
    field: str = "positions",
) -> np.ndarray:
    r"""Values averaged over neighbors, near ones more than far ones, the particle itself included.

    .. math:: x_i^{(n)} = \sum_j e^{-r_{ij}/r_c} x_j^{(n-1)} \Big/ \sum_j e^{-r_{ij}/r_c}, \\ r_{ij} < r_c

    Parameters
    ----------
    values : shape (N, F)
    configuration : where the particles are
    cutoff : r_c, sigma_AA
    generations : how many times
    field : "positions" or "inherent_positions"

    Returns
    -------
    shape (N, F)

    Raises
    ------
    ValueError
        If there is no row for each particle, a number is not positive, the field is missing, or the box is too small.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) != configuration.n_particles:
        raise ValueError(f"values of shape {values.shape}; expected ({configuration.n_particles}, F)")
    _positive("cutoff and generations", [cutoff, generations])
    n = len(values)
    tables = [
        _table(np.exp(-np.linalg.norm(vector, axis=1) / cutoff), i, j, (n, n))
        for i, j, vector in _neighbors(configuration, cutoff, field)
    ]
    weight = 1 + sum((table @ np.ones((n, 1)) for table in tables), start=np.zeros((n, 1)))
    for _ in range(generations):
        values = sum((table @ values for table in tables), start=values) / weight
    return values


def coarse_grained(
    configuration: Configuration,
    values: np.ndarray,
    lengths: Sequence[float],
    cutoff: float = 4.5,
    field: str = "positions",
) -> np.ndarray:
    r"""Densities, and a quantity's mean and variance, among neighbors that count with weights exp(-r / L).

    Parameters
    ----------
    configuration : at least its box and the field
    values : the quantity, shape (N,)
    lengths : L, sigma_AA
    cutoff : neighbors farther away do not count, sigma_AA
    field : "positions" or "inherent_positions"

    Returns
    -------
    shape (N, 1 + 9 len(lengths)): the particle's own value; then, length by length, the densities of A, of B and of
    both (the particle itself left out), the three means, the three variances. Means are 0 where nobody is near.

    Raises
    ------
    ValueError
        If there is no value for each particle, a length is not positive, the field is missing, or the box is too small.
    """
    at, n, kinds = _positive("lengths", lengths), configuration.n_particles, len(TYPE_NAMES) + 1
    own = np.asarray(values, dtype=np.float64)
    if own.shape != (n,):
        raise ValueError(f"values of shape {own.shape}; expected ({n},), one for each particle")
    who = np.column_stack([np.eye(kinds - 1)[configuration.types], np.ones(n)])
    powers = own[:, None] ** np.arange(3)
    terms = (powers[:, :, None] * who[:, None, :]).reshape(n, -1)
    total = np.zeros((n, len(at), 3 * kinds))
    for i, j, vector in _neighbors(configuration, cutoff, field):
        weight = np.exp(-np.linalg.norm(vector, axis=1)[:, None] / at)
        for k in range(len(at)):
            total[:, k] += _table(weight[:, k], i, j, (n, n)) @ terms
    sums = total.reshape(n, len(at), 3, kinds)
    density = sums[:, :, 0]
    safe = np.where(density > 1e-12, density, np.inf)
    mean = sums[:, :, 1] / safe
    variance = np.maximum(sums[:, :, 2] / safe - mean**2, 0.0)
    found = np.stack([density, mean, variance], axis=2)
    return np.column_stack([own, found.reshape(n, -1)])


def _positive(name: str, numbers: Sequence[float | None]) -> np.ndarray:
    found = np.asarray(numbers, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not (found > 0).all():
        raise ValueError(f"{name} {numbers}; expected positive numbers, at least one")
    return found


def _sum(values: np.ndarray, row: np.ndarray, n: int) -> np.ndarray:
    """Rows of values (E, F) that have the same number added up, shape (n, F)."""
    return _table(np.ones(len(row)), row, np.arange(len(row)), (n, len(row))) @ values


def _table(weights: np.ndarray, row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Weights at (row, column), zero elsewhere."""
    return csr_array((weights, (row, column)), shape=shape)


def _neighbors(
    configuration: Configuration, cutoff: float, field: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(i, j, vector from i to j) of neighbors, some at a time: first each pair one way, then each the other way."""
    positions = getattr(configuration, field)
    if positions is None:
        raise ValueError(f"the configuration has no {field}: glasslit.quench makes inherent ones")
    pairs = neighbor_pairs(positions, configuration.box, cutoff)
    for k in range(0, len(pairs), _AT_ONCE):
        i, j = pairs[k : k + _AT_ONCE].T
        vector = minimum_image(positions[j] - positions[i], configuration.box)
        yield np.concatenate([i, j]), np.concatenate([j, i]), np.concatenate([vector, -vector])
