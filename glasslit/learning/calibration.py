r"""Whether a stated uncertainty is so: errors without the noise of labels, calibration curves, and their own errors.

A label is the propensity of a particle plus the noise of a mean over few runs. The two half-ensembles of runs give the
variance of that noise, and the error of a prediction against the propensity without it. What states an uncertainty is
found in :mod:`~glasslit.learning.uncertainty`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..liquid.configuration import Configuration
from ..liquid.graph import required
from ..liquid.kob_andersen import TYPE_NAMES
from ..liquid.structure import spatial_blocks
from ..models.propensity import check_times

NOMINAL = tuple(np.linspace(0.05, 0.95, 19).round(2).tolist())
"""Parts of the labels that intervals are asked to contain."""
WithError = tuple[np.ndarray, np.ndarray]


def noise_variance(configurations: Sequence[Configuration]) -> np.ndarray:
    r"""Variance of the noise of labels, from their half-ensembles, averaged over the particles of a type.

    .. math:: v = \Big\langle \frac{(m^{(1)} - m^{(2)})^2}{4} \Big\rangle

    Each half has twice the variance of the whole, and their difference has four times.

    Parameters
    ----------
    configurations : with ``propensity_half``, of the same times

    Returns
    -------
    shape (types, T), sigma_AA^2; nan for a type that is missing

    Raises
    ------
    ValueError
        If there is no configuration, half-ensembles are missing, or times differ.
    """
    check_times(configurations)
    types = np.concatenate([c.types for c in configurations])
    halves = np.concatenate([required(c, "propensity_half") for c in configurations], axis=2).astype(np.float64)
    quarter = np.square(halves[0] - halves[1]) / 4
    found = np.full((len(TYPE_NAMES), len(quarter)), np.nan)
    for kind in np.unique(types):
        found[kind] = quarter[:, types == kind].mean(axis=1)
    return found


def squared_error(prediction: np.ndarray, configuration: Configuration) -> np.ndarray:
    r"""Squared error of a prediction against the propensity without its noise, right on average.

    .. math:: (m^{(1)} - p)\,(m^{(2)} - p)

    The noises of the halves know nothing of each other, so the mean of their product vanishes and (m - p)^2 is left. Of
    one particle it may be negative; it is made for means over many.

    Parameters
    ----------
    prediction : shape (T, N), sigma_AA
    configuration : with ``propensity_half``

    Returns
    -------
    shape (T, N), sigma_AA^2

    Raises
    ------
    ValueError
        If half-ensembles are missing or shapes do not agree.
    """
    halves = required(configuration, "propensity_half").astype(np.float64)
    if np.shape(prediction) != halves.shape[1:]:
        raise ValueError(f"prediction of shape {np.shape(prediction)}; expected that of the labels, {halves.shape[1:]}")
    return (halves[0] - prediction) * (halves[1] - prediction)


def mean_of_regions(
    values: Sequence[np.ndarray], configurations: Sequence[Configuration], per_edge: int = 2
) -> dict[str, WithError]:
    r"""Mean over the particles of a type, and its standard error, which takes regions for independent of each other.

    With n_b particles in region b and the sum s_b of their values, the mean is the ratio of sums, and of B regions

    .. math:: e^2 = \frac{B}{B - 1} \; \frac{\sum_b (s_b - \bar v n_b)^2}{\big(\sum_b n_b\big)^2}

    Neighbors are alike, so particles taken for independent would give an error that is too small.

    Parameters
    ----------
    values : shape (..., N) for each configuration; nan leaves a particle out
    configurations : of the same number
    per_edge : cubes along an edge of the box, which are the regions

    Returns
    -------
    {"A": (mean, error), "B": ...}, each of shape (...); nan where there is no particle, or a single region

    Raises
    ------
    ValueError
        If numbers or shapes do not agree.

    Notes
    -----
    Cochran, Sampling Techniques, section 9A.2 (clusters of unequal size).
    """
    shapes = [np.shape(v) for v in values]
    if (
        not shapes
        or len({s[:-1] for s in shapes}) != 1
        or [s[-1:] for s in shapes] != [(c.n_particles,) for c in configurations]
    ):
        raise ValueError(
            f"values of shapes {shapes} for configurations of {[c.n_particles for c in configurations]} particles; "
            "expected (..., N) for each"
        )
    n_blocks, blocks = per_edge**3, [spatial_blocks(c, per_edge) for c in configurations]
    found = {}
    for kind, name in enumerate(TYPE_NAMES):
        sums, counts = [], []
        for v, c, block in zip(values, configurations, blocks, strict=True):
            at = c.types == kind
            own, which = np.asarray(v, dtype=np.float64)[..., at], np.eye(n_blocks)[block[at]]
            sums.append(np.nan_to_num(own) @ which)
            counts.append(np.isfinite(own).astype(np.float64) @ which)
        s, n = np.concatenate(sums, axis=-1), np.concatenate(counts, axis=-1)  # (..., B)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = s.sum(axis=-1) / n.sum(axis=-1)
            regions = (n > 0).sum(axis=-1)
            square = np.square(s - mean[..., None] * n).sum(axis=-1) / np.square(n.sum(axis=-1))
            found[name] = mean, np.sqrt(np.where(regions > 1, regions / (regions - 1), np.nan) * square)
    return found


def calibration(
    levels: Sequence[np.ndarray], configurations: Sequence[Configuration], nominal: Sequence[float] = NOMINAL
) -> dict[str, WithError]:
    """What part of the labels lies within the stated intervals, for intervals that claim to hold a given part.

    Parameters
    ----------
    levels : shape (T, N) for each configuration, as :meth:`~glasslit.learning.uncertainty.Stated.levels` gives them
    configurations : of the same number
    nominal : parts that the intervals claim to hold, between 0 and 1

    Returns
    -------
    {"A": (part, its error), "B": ...}, each of shape (T, number of nominal parts); errors are those of
    :func:`mean_of_regions`

    Raises
    ------
    ValueError
        If a nominal part is not between 0 and 1, or as :func:`mean_of_regions`.
    """
    asked = np.asarray(nominal, dtype=np.float64)
    if asked.ndim != 1 or not len(asked) or not np.all((asked > 0) & (asked < 1)):
        raise ValueError(f"nominal = {nominal!r}; expected a list of numbers between 0 and 1")
    return mean_of_regions([(level[:, None, :] <= asked[:, None]) for level in levels], configurations)


def error_by_stated(
    variances: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
    configurations: Sequence[Configuration],
    bins: int = 6,
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Mean squared errors that are found beside those that were stated, for groups of particles with like statements.

    Parameters
    ----------
    variances : stated, shape (T, N) for each configuration, sigma_AA^2
    errors : found, as :func:`squared_error` gives them, of the same shapes
    configurations : of the same number
    bins : groups, with as many particles each

    Returns
    -------
    {"A": (stated, found, error of found), "B": ...}, each of shape (T, bins), sigma_AA^2; nan for a type that is
    missing

    Raises
    ------
    ValueError
        If there are fewer particles of a type than groups, or as :func:`mean_of_regions`.
    """
    result = {}
    for kind, name in enumerate(TYPE_NAMES):
        own = np.concatenate([v[:, c.types == kind] for v, c in zip(variances, configurations, strict=True)], axis=1)
        if not own.shape[1]:
            result[name] = (np.full((len(own), bins), np.nan),) * 3
            continue
        if not 0 < bins <= own.shape[1]:
            raise ValueError(f"{own.shape[1]} particles of type {name} in {bins} groups; expected one in each")
        rank = own.argsort(axis=1, kind="stable").argsort(axis=1)
        ends = np.cumsum([int(np.sum(c.types == kind)) for c in configurations])[:-1]
        groups = np.split(rank * bins // own.shape[1], ends, axis=1)
        masked: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for v, e, c, group in zip(variances, errors, configurations, groups, strict=True):
            which = np.full(v.shape, -1)
            which[:, c.types == kind] = group
            member = which[:, None, :] == np.arange(bins)[:, None]  # (T, bins, N)
            for values, source in zip(masked, (v, e), strict=True):
                values.append(np.where(member, source[:, None, :], np.nan))
        stated = mean_of_regions(masked[0], configurations)[name][0]
        result[name] = (stated, *mean_of_regions(masked[1], configurations)[name])
    return result
