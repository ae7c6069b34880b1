r"""Scores of predicted vectors, such as mean displacements, beside what is trivial and what is possible.

Nothing here takes a mean from the components: by isotropy it is zero, and to take it away would make a score depend on
the axes. All scores are the same when liquid and prediction are turned together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..liquid.configuration import Configuration
from ..liquid.graph import VECTORS, node_vectors, required
from ..liquid.kob_andersen import TYPE_NAMES

ByType = dict[str, np.ndarray]


def component_correlation(
    prediction: Sequence[np.ndarray], target: Sequence[np.ndarray], types: Sequence[np.ndarray]
) -> ByType:
    r"""Correlation of components, within each configuration, then averaged.

    .. math:: \frac{\sum_i p_i \cdot d_i}{\sqrt{\sum_i |p_i|^2 \, \sum_i |d_i|^2}}

    Parameters
    ----------
    prediction, target : shape (T, N, 3) for each configuration; or (T, N, 2l + 1), features of another degree l
    types : shape (N,) for each configuration; 0 = A, 1 = B

    Returns
    -------
    {"A": shape (T,), "B": shape (T,)}; nan where a type is absent or all vectors of one side are zero

    Raises
    ------
    ValueError
        If the shapes do not agree.

    Examples
    --------
    >>> d = np.random.default_rng(0).normal(size=(1, 10, 3))
    >>> component_correlation([2 * d], [d], [np.zeros(10)])["A"].round(6)
    array([1.])
    """
    return _by_type(prediction, target, types, lambda pd, pp, dd: _divided(pd, np.sqrt(pp * dd)))


def explained_variance(
    prediction: Sequence[np.ndarray], target: Sequence[np.ndarray], types: Sequence[np.ndarray]
) -> ByType:
    r"""Part of the squared length of the labels that a prediction explains, within configurations, then averaged.

    .. math:: 1 - \frac{\sum_i |d_i - p_i|^2}{\sum_i |d_i|^2}

    Parameters, results and errors are those of :func:`component_correlation`; a prediction of zero has 0, and one that
    is longer than it should be may have less.
    """
    return _by_type(prediction, target, types, lambda pd, pp, dd: _divided(2 * pd - pp, dd))


def displacement_ceiling(configurations: Sequence[Configuration]) -> tuple[ByType, ByType]:
    r"""Highest scores that a perfect predictor of the mean displacement can reach with labels from n runs.

    The runs of a particle scatter about their mean by MSD less the squared length of d, averaged over particles of a
    type, and the mean of n of them by 1 / (n - 1) of that. What is left of the labels' squared length is signal, its
    part the reliability:

    .. math:: R = 1 - \frac{\text{MSD} - \langle |d|^2 \rangle}{(n - 1) \, \langle |d|^2 \rangle}

    Parameters
    ----------
    configurations : with ``mean_displacement``, ``msd`` and ``n_trajectories``

    Returns
    -------
    Ceilings of :func:`component_correlation`, the root of R, and of :func:`explained_variance`, R itself; each
    {"A": shape (T,), "B": shape (T,)}, the mean over configurations; 0 where there is no signal

    Raises
    ------
    ValueError
        If a field is missing, or there is but one run, which scatters about nothing.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in TYPE_NAMES}
    for c in configurations:
        runs = int(required(c, "n_trajectories"))
        if runs < 2:
            raise ValueError(f"{c!r}: labels from {runs} run; expected at least 2, as one says nothing about its noise")
        length = np.square(required(c, "mean_displacement").astype(np.float64)).sum(axis=2)  # (T, N)
        for kind, name in enumerate(TYPE_NAMES):
            at = c.types == kind
            signal = length[:, at].mean(axis=1) if at.any() else np.full(len(length), np.nan)
            noise = (required(c, "msd")[:, kind] - signal) / (runs - 1)
            found[name].append(np.clip(1 - _divided(noise, signal), 0, 1))
    reliability = {name: np.mean(values, axis=0) for name, values in found.items()}
    return {name: np.mean(np.sqrt(values), axis=0) for name, values in found.items()}, reliability


def inherent_displacements(train: Sequence[Configuration], configurations: Sequence[Configuration]) -> list[np.ndarray]:
    """The trivial predictor: the vector to the inherent position, times a number for each type and time.

    Parameters
    ----------
    train : labelled configurations, which give the numbers by least squares
    configurations : for which to predict

    Returns
    -------
    shape (T, N, 3) for each of ``configurations``, sigma_AA
    """
    numbers = np.zeros((len(TYPE_NAMES), len(train[0].times)))
    for kind in range(len(TYPE_NAMES)):
        product, square = np.zeros(numbers.shape[1]), 0.0
        for c in train:
            u, d = node_vectors(c, VECTORS["u_IS"])[c.types == kind], required(c, "mean_displacement")
            product += np.einsum("nx,tnx->t", u, d[:, c.types == kind].astype(np.float64))
            square += float(np.square(u).sum())
        numbers[kind] = product / square if square else 0.0
    return [numbers[c.types].T[:, :, None] * node_vectors(c, VECTORS["u_IS"]) for c in configurations]


def vector_scores(
    prediction: Sequence[np.ndarray], train: Sequence[Configuration], test: Sequence[Configuration]
) -> dict[str, dict[str, list[float | None]]]:
    """All of the above for predicted mean displacements, as :func:`glasslit.evaluate` stores them.

    Parameters
    ----------
    prediction : shape (T, N, 3) for each test configuration
    train, test : labelled configurations

    Returns
    -------
    {"A": {"component": [...], "explained": [...], "ceiling": [...], "explainable": [...], "u_IS_component": [...],
    "u_IS_explained": [...]}, "B": {...}}, one number per time: the scores, the ceilings of both, and both scores of
    :func:`inherent_displacements`; ceilings and trivial scores where the data have what they need
    """
    types, labels = [c.types for c in test], [required(c, "mean_displacement") for c in test]
    scores = {
        "component": component_correlation(prediction, labels, types),
        "explained": explained_variance(prediction, labels, types),
    }
    if all(c.msd is not None and (c.n_trajectories or 0) > 1 for c in test):
        scores["ceiling"], scores["explainable"] = displacement_ceiling(test)
    if all(c.inherent_positions is not None for c in [*train, *test]):
        trivial = inherent_displacements(train, test)
        scores["u_IS_component"] = component_correlation(trivial, labels, types)
        scores["u_IS_explained"] = explained_variance(trivial, labels, types)
    return {
        kind: {name: [float(v) if np.isfinite(v) else None for v in found[kind]] for name, found in scores.items()}
        for kind in TYPE_NAMES
    }


def _by_type(prediction, target, types, score) -> ByType:  # type: ignore[no-untyped-def]
    """Mean over configurations of a score that is made of the sums of p d, p p and d d."""
    shapes = [[np.shape(v) for v in each] for each in (prediction, target)]
    expected = [(*np.shape(t)[:1], len(k), *np.shape(t)[2:3]) for t, k in zip(target, types, strict=False)]
    if not shapes[0] == shapes[1] == expected or len(types) != len(target):
        raise ValueError(
            f"predictions of shapes {shapes[0]}, labels {shapes[1]}, {len(types)} type arrays; expected (T, N, 3) of "
            "both, or another number of components, and (N,) for each configuration"
        )
    found: dict[str, list[np.ndarray]] = {name: [] for name in TYPE_NAMES}
    for p, d, k in zip(prediction, target, types, strict=True):
        for kind, name in enumerate(TYPE_NAMES):
            x, y = (np.asarray(v, dtype=np.float64)[:, np.asarray(k) == kind] for v in (p, d))
            found[name].append(score(*((a * b).sum(axis=(1, 2)) for a, b in ((x, y), (x, x), (y, y)))))
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def _divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, nan where the denominator is not positive."""
    return np.divide(numerator, denominator, out=np.full_like(denominator, np.nan), where=denominator > 0)
