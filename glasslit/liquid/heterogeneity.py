r"""Dynamic heterogeneity: how much, and over what distance, particles move together.

Overlap, chi4, G4 and S4 (Lačević et al., J. Chem. Phys. 119, 7372, 2003) of any mobility field: measured, predicted or
re-fitted. A threshold turns mobilities into "stays" and "leaves"; the literature uses several, so none is a default.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from .periodic import neighbor_distances


def overlap(mobility: ArrayLike, threshold: float) -> np.ndarray:
    r"""Which particles have not moved away: 1 where the mobility is below the threshold, 0 elsewhere.

    .. math:: q_i(t) = \Theta(a - m_i(t))

    Parameters
    ----------
    mobility : shape (..., N), sigma_AA: propensities, or distances moved in a single run
    threshold : a, sigma_AA, positive; say which one beside a result

    Returns
    -------
    shape (..., N), float64; nan where the mobility is

    Raises
    ------
    ValueError
        If the threshold is not a positive number.

    Examples
    --------
    >>> overlap([0.1, 0.3, 0.5], threshold=0.3).tolist()
    [1.0, 0.0, 0.0]
    """
    if not threshold > 0:
        raise ValueError(f"threshold = {threshold!r}; expected a positive length in sigma_AA, such as 0.3")
    moved = np.asarray(mobility, dtype=np.float64)
    return np.where(np.isnan(moved), np.nan, moved < threshold)


def chi4(overlap: ArrayLike, other: ArrayLike | None = None) -> np.ndarray:
    r"""Four-point susceptibility: how collectively the particles move, counted in particles.

    .. math:: \chi_4 = N\,(\langle Q^2\rangle - \langle Q\rangle^2), \\ Q = N^{-1}\sum_i q_i

    Parameters
    ----------
    overlap : shape (S, ..., N), dimensionless
        q_i of N particles in S samples: configurations, or runs of one. Which of them the mean is over decides what
        is counted.
    other : same shape, optional
        A second measurement of the same samples whose noise is independent, such as the other half of the runs.
        Then the covariance of both Q stands for the variance, and noise adds nothing on average.

    Returns
    -------
    shape (...), dimensionless; >= 0 without ``other``. Population variance (divides by S). With normally distributed Q,
    few samples leave a relative error of about sqrt(2 / (S - 1)).

    Raises
    ------
    ValueError
        If S < 2: one sample has no variance. If the samples differ in N, or ``other`` in shape.

    Examples
    --------
    >>> float(chi4([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    1.0
    """
    q, second = _fields(overlap, other)
    if len(q) < 2:
        raise ValueError(f"{len(q)} samples; expected at least 2: one has no variance")
    one, two = q.mean(axis=-1), second.mean(axis=-1)
    return q.shape[-1] * ((one - one.mean(axis=0)) * (two - two.mean(axis=0))).mean(axis=0)


def chi4_of_regions(
    overlap: ArrayLike, regions: ArrayLike, other: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Susceptibility from regions inside of configurations, where those are too few for a variance.

    .. math:: \chi_4^{\text{reg}} = \Big\langle \frac{1}{n_b} \Big( \sum_{i \in b} \delta q_i \Big)^2 \Big\rangle_b

    with the mean over all regions of all samples, and the overlap counted from its mean over everything. What is
    collective beyond a region does not count, so it is below chi4 of the whole.

    Parameters
    ----------
    overlap, other : shape (S, ..., N), as in :func:`chi4`; S may be 1
    regions : shape (S, N), which region each particle is in, as :func:`glasslit.liquid.structure.spatial_blocks` tells

    Returns
    -------
    value : shape (...), dimensionless
    error : shape (...), the standard error over regions

    Raises
    ------
    ValueError
        If shapes do not agree, or there are fewer than two regions in all.

    Examples
    --------
    Four particles, two regions; in one both stay, in the other both leave:

    >>> value, _ = chi4_of_regions([[1.0, 1.0, 0.0, 0.0]], [[0, 0, 1, 1]])
    >>> float(value)
    0.5
    """
    q, second = _fields(overlap, other)
    where = np.asarray(regions)
    if where.shape != (len(q), q.shape[-1]):
        raise ValueError(f"regions of shape {where.shape}; expected {(len(q), q.shape[-1])}: (samples, particles)")
    one, two = (x - x.mean(axis=(0, -1), keepdims=True) for x in (q, second))
    found = [
        one[s][..., at].sum(axis=-1) * two[s][..., at].sum(axis=-1) / at.sum()
        for s, in_ in enumerate(where)
        for at in (in_ == region for region in np.unique(in_))
    ]
    if len(found) < 2:
        raise ValueError(f"{len(found)} region in all; expected at least 2: one has no variance")
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))


def g4(
    overlap: ArrayLike,
    positions: Sequence[np.ndarray],
    boxes: Sequence[np.ndarray],
    r_max: float,
    bins: int,
    other: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Over what distance particles share their fate: the pair correlation of the overlap's fluctuations.

    .. math:: G_4(r) = \tfrac{2 V}{N (N - 1)} \Big\langle \sum_{i < j} \delta q_i\, \delta q_j\,
        \frac{\delta(r - r_{ij})}{4 \pi r^2} \Big\rangle, \\
        \delta q_i = q_i - \langle Q \rangle

    It is g(r) times the covariance of two particles' overlaps at distance r, the mean being over particles and
    samples; its integral over all pairs is chi4 (without each particle's own variance):
    chi4 = <dq^2> + (N - 1) / V int G4 d^3r.

    Parameters
    ----------
    overlap, other : shape (S, ..., N), as in :func:`chi4`; S may be 1
    positions : S arrays of shape (N, 3), sigma_AA, of the same particles in the same order
    boxes : S arrays of shape (3,), sigma_AA
    r_max : sigma_AA; at most half of the shortest box edge
    bins : between 0 and r_max

    Returns
    -------
    r : shape (bins,), sigma_AA, centers of the bins
    G4 : shape (..., bins), dimensionless

    Raises
    ------
    ValueError
        If shapes do not agree, r_max exceeds half a box edge, or bins is below 1.

    Examples
    --------
    Two of four particles at distance 1 stay, the others, far away and apart, leave:

    >>> x = np.array([[0.0, 0, 0], [1, 0, 0], [5, 5, 5], [5, 5, 8]])
    >>> r, G = g4([[1.0, 1, 0, 0]], [x], [np.full(3, 10.0)], r_max=2.0, bins=2)
    >>> G.nonzero()[0].tolist(), round(float(G[1] * 4 / 3 * np.pi * (2**3 - 1) * 6 / 1000), 12)
    ([1], 0.25)
    """
    q, second = _fields(overlap, other)
    n = q.shape[-1]
    shapes = [np.shape(x) for x in positions]
    if not len(shapes) == len(boxes) == len(q) or any(shape != (n, 3) for shape in shapes):
        raise ValueError(f"{len(q)} samples of {n} particles, {len(boxes)} boxes, positions {shapes}; expected S alike")
    if bins < 1:
        raise ValueError(f"bins = {bins}; expected at least 1")
    edges = np.linspace(0.0, r_max, bins + 1)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    around = (0, -1)
    one = (q - q.mean(axis=around, keepdims=True)).reshape(len(q), -1, n)
    two = (second - second.mean(axis=around, keepdims=True)).reshape(len(q), -1, n)
    total = np.zeros((bins, one.shape[1]))
    for x, box, a, b in zip(positions, boxes, one, two, strict=True):
        pairs, distance = neighbor_distances(x, box, r_max)
        i, j = pairs.T
        place = np.minimum((distance * (bins / r_max)).astype(int), bins - 1)
        at = csr_array((np.ones(len(i)), (place * n + i, j)), shape=(bins * n, n))  # all bins' pairs, one below another
        products = np.einsum("kni,in->ki", (at @ b.T).reshape(bins, n, -1), a)
        if other is not None:
            products = (products + np.einsum("kni,in->ki", (at @ a.T).reshape(bins, n, -1), b)) / 2
        total += products * (2 * np.prod(box) / (n * (n - 1)) / shell)[:, None] / len(q)
    return (edges[1:] + edges[:-1]) / 2, total.T.reshape(*q.shape[1:-1], bins)


def s4(
    overlap: ArrayLike, positions: Sequence[np.ndarray], boxes: Sequence[np.ndarray], q_max: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""The overlap's fluctuations by wavelength: the four-point structure factor.

    .. math:: S_4(q) = N^{-1} \Big\langle \Big| \sum_j \delta q_j\, e^{i q \cdot x_j} \Big|^2 \Big\rangle, \\
        \delta q_j = q_j - \langle Q \rangle

    at the wave vectors that fit the periodic box, averaged over directions. Towards q = 0 it tends to chi4.

    Parameters
    ----------
    overlap : shape (S, ..., N), as in :func:`chi4`; S may be 1
    positions : S arrays of shape (N, 3), sigma_AA, of the same particles in the same order
    boxes : S arrays of shape (3,), sigma_AA: the same cube for all
    q_max : 1 / sigma_AA

    Returns
    -------
    q : shape (Q,), 1 / sigma_AA, increasing
    S4 : shape (..., Q), dimensionless
    modes : shape (Q,), wave vectors behind each value, q and -q counted once

    Raises
    ------
    ValueError
        If shapes do not agree, boxes differ or are no cubes, or none of their wave vectors is below q_max.

    Examples
    --------
    Two particles of four stay, half a box apart from those that leave:

    >>> x = np.array([[0.0, 0, 0], [0, 0, 0.1], [5, 0, 0], [5, 0, 0.1]])
    >>> q, S, modes = s4([[1.0, 1, 0, 0]], [x], [np.full(3, 10.0)], q_max=0.7)
    >>> modes.tolist(), round(float(3 * S[0]), 2)  # 1 for the direction in which they differ, 0 for two others
    ([3], 1.0)
    """
    fields, _ = _fields(overlap, None)
    n, edges = fields.shape[-1], np.asarray(boxes, dtype=np.float64)
    shapes = [np.shape(x) for x in positions]
    if not len(shapes) == len(edges) == len(fields) or any(shape != (n, 3) for shape in shapes):
        raise ValueError(
            f"{len(fields)} samples of {n} particles, {len(edges)} boxes, positions {shapes}; expected S alike"
        )
    if np.ptp(edges) > 1e-6 * edges.max():
        raise ValueError(f"boxes with edges from {edges.min():g} to {edges.max():g}; expected the same cube for all")
    unit = 2 * np.pi / edges.mean()
    reach = int(q_max / unit)
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    square = (grid**2).sum(axis=1)
    half = [tuple(v) > (0, 0, 0) for v in grid.tolist()]
    kept = np.array(half) & (square <= (q_max / unit) ** 2)
    if not kept.any():
        raise ValueError(f"q_max = {q_max}; expected at least {unit:.3g}, the shortest wave vector of the box")
    grid, square = grid[kept], square[kept]
    moved = (fields - fields.mean(axis=(0, -1), keepdims=True)).reshape(len(fields), -1, n)
    power = np.zeros((moved.shape[1], len(grid)))
    for x, field in zip(positions, moved, strict=True):
        phase = unit * np.asarray(x) @ grid.T
        power += ((field @ np.cos(phase)) ** 2 + (field @ np.sin(phase)) ** 2) / (n * len(moved))
    shells, which, modes = np.unique(square, return_inverse=True, return_counts=True)
    summed = np.stack([power[:, which == k].sum(axis=1) for k in range(len(shells))], axis=-1)
    return unit * np.sqrt(shells), (summed / modes).reshape(*fields.shape[1:-1], len(shells)), modes


def correlation_length(overlap: ArrayLike, positions: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> np.ndarray:
    r"""How far mobile and immobile regions reach: the second-moment length, from S4 at its longest two wavelengths.

    .. math:: \xi_4 = \frac{1}{q_1} \sqrt{\frac{\chi_4}{S_4(q_1)} - 1}, \\ q_1 = 2 \pi / L

    Where S4 has the form of Ornstein and Zernike, chi / (1 + (q xi)^2), this is its length; nothing is fitted, and no
    range of q chosen. It is as uncertain as chi4, see there; a field that is random from particle to particle has
    lengths around zero.

    Parameters
    ----------
    overlap, positions, boxes : as in :func:`s4`, S of at least 2

    Returns
    -------
    shape (...), sigma_AA; 0 where S4 does not fall towards q_1, nan where nothing fluctuates

    Raises
    ------
    ValueError
        If S < 2, or as :func:`s4`.

    Notes
    -----
    Cooper, Freedman, Preston, Nucl. Phys. B 210, 210 (1982), for spins; Lačević et al. (2003) for S4.
    """
    samples = len(overlap)  # type: ignore[arg-type]
    whole = chi4(overlap) * samples / max(samples - 1, 1)  # the mean is one of theirs
    shortest = 2 * np.pi / np.mean(boxes)
    q, power, _ = s4(overlap, positions, boxes, q_max=1.001 * shortest)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(power[..., 0] > 0, np.sqrt(np.clip(whole / power[..., 0] - 1, 0, None)) / q[0], np.nan)


def _fields(overlap: ArrayLike, other: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of shape (S, ..., N)."""
    try:
        q = np.asarray(overlap, dtype=np.float64)
        second = q if other is None else np.asarray(other, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"samples of different shape ({error}); expected (..., N) with one N for all") from error
    if q.ndim < 2 or q.shape != second.shape:
        raise ValueError(f"overlaps of shapes {q.shape} and {second.shape}; expected (S, ..., N), the same for both")
    return q, second
