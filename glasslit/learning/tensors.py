r"""Scores of predicted covariances of displacements, beside what is trivial and what is possible.

A symmetric matrix is its trace, scored as a propensity is, and a traceless part of degree two, scored as vectors are
(:mod:`~glasslit.learning.vectors`): no mean is taken from its components, so that no score depends on the axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..equivariance.so3 import symmetric_to_irreps
from ..liquid.configuration import VOIGT, Configuration
from ..liquid.graph import required
from ..liquid.kob_andersen import TYPE_NAMES
from ..liquid.periodic import minimum_image, neighbor_pairs
from .metrics import gain_of_regions, noise_ceiling, pearson
from .vectors import ByType, component_correlation, explained_variance

POWERS = (2, 4, 6, 8)
"""Powers of the distance that :func:`neighbor_tensors` chooses from on the training configurations."""


def symmetric_matrices(entries: ArrayLike) -> np.ndarray:
    """Matrices from their entries xx, yy, zz, yz, xz, xy.

    Parameters
    ----------
    entries : shape (..., 6)

    Returns
    -------
    shape (..., 3, 3), float64

    Raises
    ------
    ValueError
        If there are not six entries.

    Examples
    --------
    >>> symmetric_matrices([1, 2, 3, 4, 5, 6]).tolist()
    [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]
    """
    values = np.asarray(entries, dtype=np.float64)
    if values.shape[-1:] != (6,):
        raise ValueError(f"entries of shape {values.shape}; expected (..., 6): xx, yy, zz, yz, xz, xy")
    matrices = np.empty((*values.shape[:-1], 3, 3))
    for k, (a, b) in enumerate(zip(*VOIGT, strict=True)):
        matrices[..., a, b] = matrices[..., b, a] = values[..., k]
    return matrices


def trace(entries: ArrayLike) -> np.ndarray:
    """Sum of the diagonal of matrices given by xx, yy, zz, yz, xz, xy: shape (..., 6) to (...)."""
    return np.asarray(entries, dtype=np.float64)[..., :3].sum(axis=-1)


def degree_two(entries: ArrayLike) -> np.ndarray:
    """The traceless part of matrices given by xx, yy, zz, yz, xz, xy, as a feature of degree two.

    Parameters
    ----------
    entries : shape (..., 6)

    Returns
    -------
    shape (..., 5); the squares sum to those of the entries of the traceless matrix
    """
    return symmetric_to_irreps(torch.from_numpy(np.asarray(entries, dtype=np.float64)))[..., 1:].numpy()


def covariance_ceiling(configurations: Sequence[Configuration]) -> dict[str, ByType]:
    r"""Highest scores that a perfect predictor can reach with covariances from n runs.

    With r the correlation of what the two halves of the runs say, all runs together have reliability R = 2r / (1 + r)
    (Spearman-Brown), as in :func:`~glasslit.noise_ceiling`.

    Parameters
    ----------
    configurations : with ``displacement_covariance_half``

    Returns
    -------
    "ceiling" of the correlation of components of degree two, the root of R; "explainable", R itself; "trace_ceiling" of
    Pearson's correlation of the trace. Each {"A": shape (T,), "B": shape (T,)}, the mean over configurations; 0 where
    halves do not correlate positively

    Raises
    ------
    ValueError
        If a configuration holds no halves.
    """
    reliability: dict[str, list[np.ndarray]] = {name: [] for name in TYPE_NAMES}
    halves = [required(c, "displacement_covariance_half") for c in configurations]
    for c, (one, other) in zip(configurations, halves, strict=True):
        for name, r in component_correlation([degree_two(one)], [degree_two(other)], [c.types]).items():
            known = np.clip(r, 0, None)
            reliability[name].append(2 * known / (1 + known))
    return {
        "ceiling": {name: np.mean(np.sqrt(values), axis=0) for name, values in reliability.items()},
        "explainable": {name: np.mean(values, axis=0) for name, values in reliability.items()},
        "trace_ceiling": noise_ceiling([trace(h) for h in halves], [c.types for c in configurations]),
    }


def neighbor_tensors(
    train: Sequence[Configuration], configurations: Sequence[Configuration], cutoff: float = 2.0
) -> list[np.ndarray]:
    r"""The trivial predictor: the directions in which a particle has neighbors, times a number for each type and time.

    .. math:: S_i = \sum_{r_{ij} < r_c} \frac{r_{ij} \, r_{ij}^\mathsf{T}}{r_{ij}^{2 + n}}

    Parameters
    ----------
    train : labelled configurations, which give the number by least squares on the traceless part, and choose for each
        type and time the power n among :data:`POWERS`
    configurations : for which to predict
    cutoff : sigma_AA

    Returns
    -------
    shape (T, N, 6) for each of ``configurations``, sigma_AA^2: xx, yy, zz, yz, xz, xy. Its trace is of no meaning
    """
    n_times = len(train[0].times)
    product, square = np.zeros((2, len(POWERS), len(TYPE_NAMES), n_times))
    for c in train:
        label = degree_two(required(c, "displacement_covariance"))
        found = directions(c, cutoff)
        for power, s in enumerate(degree_two(found)):
            for kind in range(len(TYPE_NAMES)):
                at = c.types == kind
                product[power, kind] += np.einsum("nk,tnk->t", s[at], label[:, at])
                square[power, kind] += np.square(s[at]).sum()
    explained = np.divide(product**2, square, out=np.zeros_like(product), where=square > 0)
    chosen = explained.argmax(axis=0)  # (types, T)
    taken = np.take_along_axis(product, chosen[None], axis=0)[0]
    number = np.divide(taken, np.take_along_axis(square, chosen[None], axis=0)[0], out=0 * taken, where=taken != 0)
    return [
        number[c.types].T[:, :, None] * directions(c, cutoff)[chosen[c.types].T, np.arange(c.n_particles)]
        for c in configurations
    ]


def directions(configuration: Configuration, cutoff: float = 2.0) -> np.ndarray:
    """The sums over neighbors of :func:`neighbor_tensors` for each of :data:`POWERS`, shape (powers, N, 6)."""
    c = configuration
    i, j = neighbor_pairs(c.positions, c.box, cutoff).T
    vector = minimum_image(c.positions[j] - c.positions[i], c.box)
    distance = np.linalg.norm(vector, axis=1)
    products = vector[:, VOIGT[0]] * vector[:, VOIGT[1]]
    found = np.zeros((len(POWERS), c.n_particles, 6))
    for sums, power in zip(found, POWERS, strict=True):
        share = products / distance[:, None] ** (2 + power)
        for k in range(6):
            sums[:, k] = np.bincount(i, share[:, k], c.n_particles) + np.bincount(j, share[:, k], c.n_particles)
    return found


def covariance_scores(
    prediction: Sequence[np.ndarray], train: Sequence[Configuration], test: Sequence[Configuration]
) -> dict[str, dict[str, list[float | None]]]:
    """All of the above for predicted covariances, as :func:`glasslit.evaluate` stores them.

    Parameters
    ----------
    prediction : shape (T, N, 6) for each test configuration: xx, yy, zz, yz, xz, xy
    train, test : labelled configurations

    Returns
    -------
    {"A": {"component": [...], "explained": [...], "trace": [...], "neighbors_component": [...], "ceiling": [...],
    "explainable": [...], "trace_ceiling": [...]}, "B": {...}}, one number per time. Of the part of degree two:
    correlation of components, explained variance, the correlation of :func:`neighbor_tensors`, and the ceilings of the
    first two, where the data hold halves. Of the trace: Pearson's correlation within configurations, and its ceiling
    """
    types, labels = [c.types for c in test], [required(c, "displacement_covariance") for c in test]
    predicted, known = [degree_two(p) for p in prediction], [degree_two(v) for v in labels]
    around = [degree_two(p) for p in neighbor_tensors(train, test)]
    scores = {
        "component": component_correlation(predicted, known, types),
        "explained": explained_variance(predicted, known, types),
        "trace": pearson([trace(p) for p in prediction], [trace(v) for v in labels], types),
        "neighbors_component": component_correlation(around, known, types),
    }
    if all(c.displacement_covariance_half is not None for c in test):
        scores |= covariance_ceiling(test)
    return {
        kind: {name: [float(v) if np.isfinite(v) else None for v in found[kind]] for name, found in scores.items()}
        for kind in TYPE_NAMES
    }


def paired_tensor_gain(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    test: Sequence[Configuration],
    *,
    draws: int = 1000,
    per_edge: int = 2,
    seed: int = 0,
    kinds: Sequence[str] = TYPE_NAMES,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """How much better the second of two predicted covariances is than the first on the same particles.

    Compared is the correlation of components of degree two, within configurations. Its error comes from a bootstrap
    that draws regions, as that of :func:`glasslit.learning.evaluation.paired_gain`.

    Parameters
    ----------
    first, second : shape (T, N, 6) for each test configuration
    test : labelled configurations
    draws, per_edge, seed, kinds : as in :func:`glasslit.learning.evaluation.paired_gain`

    Returns
    -------
    {"A": (difference, shape (T,); its standard error, shape (T,)), "B": ...}

    Raises
    ------
    ValueError
        As :func:`glasslit.learning.evaluation.paired_gain`.
    """
    labels = [required(c, "displacement_covariance") for c in test]
    return gain_of_regions(first, second, labels, test, _products, _correlations, draws, per_edge, seed, kinds)


def _products(p: np.ndarray, q: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What each particle adds to the sums of :func:`_correlations`, shape (5, T, n)."""
    x = [degree_two(v) for v in (p, q, y)]
    return np.stack([(x[a] * x[b]).sum(axis=2) for a, b in ((0, 0), (1, 1), (2, 2), (0, 2), (1, 2))])


def _correlations(sums: np.ndarray) -> np.ndarray:
    """Of two predictions with the labels, shape (2, ...), from five sums: pp, qq, yy, py, qy."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = sums[3:] / np.sqrt(sums[:2] * sums[2])
    return found
