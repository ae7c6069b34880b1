r"""Scores: Pearson correlation per type and time, and the ceiling that label noise puts on it.

Naive where it can be: each number is one call of NumPy on one type at one time. What is measured on a liquid and no
score (:mod:`~glasslit.liquid.structure`) is found under its names here, too, where it was before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TYPE_NAMES
from ..liquid.structure import local_density as local_density
from ..liquid.structure import radial_distribution as radial_distribution
from ..liquid.structure import spatial_blocks as spatial_blocks

Reduce = Literal["mean", "pooled"]


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of two vectors; nan where one is constant (no correlation is defined)."""
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else float("nan")


def _listed(values: ArrayLike | Sequence[ArrayLike], ndim: int) -> list[np.ndarray]:
    """One array per configuration, from one array, a stack of them or a list of them."""
    try:
        whole = np.asarray(values, dtype=np.float64)
    except ValueError:  # configurations of different size
        return [np.asarray(v, dtype=np.float64) for v in values]  # type: ignore[union-attr]
    return [whole] if whole.ndim == ndim else list(whole)


def pearson(
    prediction: ArrayLike | Sequence[ArrayLike],
    target: ArrayLike | Sequence[ArrayLike],
    types: ArrayLike | Sequence[ArrayLike],
    reduce: Reduce = "mean",
) -> dict[str, np.ndarray]:
    r"""Pearson correlation of prediction and target, for each particle type and time.

    .. math:: \rho = \frac{\sum_i (p_i - \bar p)(m_i - \bar m)}
        {\sqrt{\sum_i (p_i - \bar p)^2 \sum_i (m_i - \bar m)^2}}

    Parameters
    ----------
    prediction, target : shape (T, N), or one such array for each of S configurations
    types : shape (N,), or one such array for each configuration; 0 = A, 1 = B
    reduce : "mean": correlate within each configuration, then average; "pooled": correlate all
        particles of all configurations at once, so that differences between configurations count

    Returns
    -------
    {"A": shape (T,), "B": shape (T,)}; nan where a type is absent or one side is constant.

    Raises
    ------
    ValueError
        If the shapes do not agree or ``reduce`` is unknown.

    Examples
    --------
    >>> m = np.array([[1.0, 2.0, 3.0, 1.0, 2.0]])
    >>> pearson(2 * m + 1, m, np.array([0, 0, 0, 1, 1]))
    {'A': array([1.]), 'B': array([1.])}
    """
    if reduce not in ("mean", "pooled"):
        raise ValueError(f"reduce = {reduce!r}; expected 'mean' or 'pooled'")
    predictions, targets = _listed(prediction, 2), _listed(target, 2)
    kinds = [np.asarray(k) for k in _listed(types, 1)]
    if len(kinds) == 1 and len(targets) > 1:
        kinds = kinds * len(targets)
    shapes = [(p.shape, m.shape, k.shape) for p, m, k in zip(predictions, targets, kinds, strict=False)]
    if not (len(predictions) == len(targets) == len(kinds)) or any(p != m or p[-1:] != k for p, m, k in shapes):
        raise ValueError(
            f"{len(predictions)} predictions, {len(targets)} targets, {len(kinds)} type arrays of shapes {shapes}; "
            "expected (T, N), (T, N) and (N,) for each configuration"
        )
    result = {}
    for number, name in enumerate(TYPE_NAMES):
        pairs = [(p[:, k == number], m[:, k == number]) for p, m, k in zip(predictions, targets, kinds, strict=True)]
        if reduce == "pooled":
            pairs = [(np.concatenate([p for p, _ in pairs], axis=1), np.concatenate([m for _, m in pairs], axis=1))]
        per_configuration = [
            [_correlation(p[t], m[t]) if p.shape[1] else float("nan") for t in range(len(p))] for p, m in pairs
        ]
        result[name] = np.mean(per_configuration, axis=0)
    return result


def noise_ceiling(
    propensity_half: ArrayLike | Sequence[ArrayLike],
    types: ArrayLike | Sequence[ArrayLike],
    reduce: Reduce = "mean",
) -> dict[str, np.ndarray]:
    r"""Highest correlation that a perfect predictor can reach with noisy labels.

    With r the correlation of the labels from two halves of the runs, the full mean has reliability
    2r / (1 + r) (Spearman-Brown), and the noiseless propensity correlates with it as

    .. math:: \rho_\text{max} = \sqrt{2 r / (1 + r)}

    With ``reduce="mean"`` this is computed in each configuration, and averaged.

    Parameters
    ----------
    propensity_half : shape (2, T, N), or one such array for each configuration
    types, reduce : as in :func:`pearson`

    Returns
    -------
    {"A": shape (T,), "B": shape (T,)}, 0 where the halves do not correlate positively.

    Examples
    --------
    >>> half = np.array([[[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]])
    >>> noise_ceiling(half, np.zeros(3))["A"]
    array([1.])
    """
    halves = _listed(propensity_half, 3)
    r = pearson([h[0] for h in halves], [h[1] for h in halves], types, reduce)
    if reduce == "mean" and len(halves) > 1:  # of what is possible in each, as the score is
        kinds = _listed(types, 1)
        kinds = kinds * len(halves) if len(kinds) == 1 else kinds
        each = [noise_ceiling(h, k) for h, k in zip(halves, kinds, strict=True)]
        return {name: np.mean([ceiling[name] for ceiling in each], axis=0) for name in TYPE_NAMES}
    return {name: np.sqrt(2 * np.clip(v, 0, None) / (1 + np.clip(v, 0, None))) for name, v in r.items()}


def trivial_prediction(
    train: Sequence[Configuration], train_values: Sequence[np.ndarray], test: Configuration, test_values: np.ndarray
) -> np.ndarray:
    """Propensity as a straight line in one number per particle, fitted per type and time on training data.

    What any network has to beat. Its correlation is that of the number itself, with the sign that the
    training configurations teach.

    Parameters
    ----------
    train : labelled configurations
    train_values : shape (N,) for each of them, e.g. :func:`~glasslit.liquid.structure.local_density`
    test : configuration to predict
    test_values : shape (N,)

    Returns
    -------
    shape (T, N), sigma_AA; nan for a type that no training configuration has
    """
    labels = [np.asarray(c.propensity) for c in train]
    return on_lines(straight_lines(train_values, labels, [c.types for c in train]), test_values, test.types)


def straight_lines(
    values: Sequence[np.ndarray], labels: Sequence[np.ndarray], types: Sequence[np.ndarray]
) -> np.ndarray:
    """Least-squares lines of labels in one number per particle, for :func:`on_lines`.

    Parameters
    ----------
    values, labels, types : shapes (N,), (T, N) and (N,) for each configuration

    Returns
    -------
    shape (T, 2, 2): for each time and type, slope and value at zero; nan for a type that is missing
    """
    value, kinds = np.concatenate(values), np.concatenate(types)
    label = np.concatenate(labels, axis=1).astype(np.float64)
    lines = np.full((len(label), len(TYPE_NAMES), 2), np.nan)
    for number in range(len(TYPE_NAMES)):
        chosen = kinds == number
        for t in range(len(label) if chosen.any() else 0):
            lines[t, number] = np.polyfit(value[chosen], label[t, chosen], 1)
    return lines


def on_lines(lines: np.ndarray, values: np.ndarray, types: np.ndarray) -> np.ndarray:
    """What the lines of :func:`straight_lines` say at values (N,) of particles of types (N,); shape (T, N)."""
    slope, at_zero = np.moveaxis(lines[:, types], -1, 0)
    return slope * values + at_zero


def gain_of_regions(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    test: Sequence[Configuration],
    moments: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    correlations: Callable[[np.ndarray], np.ndarray],
    draws: int = 1000,
    per_edge: int = 2,
    seed: int = 0,
    kinds: Sequence[str] = TYPE_NAMES,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """How much larger the second of two correlations with the labels is, and how sure: a bootstrap that draws regions.

    Each configuration is cut into cubes, and as many are drawn with replacement, the same for both predictions.

    Parameters
    ----------
    first, second, labels : for each test configuration, times first, then particles
    test : the configurations, for types and positions
    moments : what each particle adds to the sums: from both predictions and the label of the particles of one type to
        shape (M, T, n)
    correlations : of both predictions with the labels, shape (2, ...), from the sums, shape (M, ...)
    draws : of the bootstrap, at least 2
    per_edge : cubes along an edge of the box, at least 2, and at most as many cubes as particles
    seed : of the draws
    kinds : types of particles

    Returns
    -------
    {"A": (difference, shape (T,); its standard error, shape (T,)), "B": ...}, averaged over configurations; nan where
    a correlation is not defined, since a type is absent or a prediction is constant

    Raises
    ------
    ValueError
        If numbers, shapes or times of predictions, labels and configurations do not agree, if one is not finite, or if
        there is no configuration, or no such type, number of draws or of cubes.
    """
    check_comparison(first, second, labels, test, draws, per_edge, kinds)
    n_blocks, rng = per_edge**3, np.random.default_rng(seed)
    blocks = [spatial_blocks(c, per_edge) for c in test]
    drawn = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=(len(test), draws)).astype(np.float64)
    found = {}
    for name in kinds:
        kind = TYPE_NAMES.index(name)
        differences, spread = [], []
        for p, q, y, block, c, times in zip(first, second, labels, blocks, test, drawn, strict=True):
            at = c.types == kind
            which = np.eye(n_blocks)[block[at]]  # (n, blocks)
            sums = moments(*(np.asarray(v)[:, at] for v in (p, q, y))) @ which  # (M, T, blocks)
            rho = correlations(sums.sum(axis=-1))
            differences.append(rho[1] - rho[0])
            resampled = correlations(np.einsum("mtb,db->mtd", sums, times))
            spread.append(resampled[1] - resampled[0])  # (T, draws)
        found[name] = (np.mean(differences, axis=0), np.mean(spread, axis=0).std(axis=-1))
    return found


def check_comparison(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    test: Sequence[Configuration],
    draws: int,
    per_edge: int,
    kinds: Sequence[str],
) -> None:
    """Refuse what cannot be compared.

    Parameters
    ----------
    first, second, labels, test, draws, per_edge, kinds : as in :func:`gain_of_regions`

    Raises
    ------
    ValueError
        As :func:`gain_of_regions`.
    """
    if len(test) == 0:
        raise ValueError("no test configuration; expected at least one, and a prediction for each")
    shapes = [[np.shape(p) for p in each] for each in (first, second, labels)]
    if not shapes[0] == shapes[1] == shapes[2]:
        raise ValueError(f"predictions of shapes {shapes[0]} and {shapes[1]}, labels {shapes[2]}; expected the same")
    times = [None if c.times is None else np.asarray(c.times).tolist() for c in test]
    if any(t != times[0] for t in times):
        raise ValueError(f"test configurations with times {times}; expected the same of all: choose with at_times")
    for text, each in (("first prediction", first), ("second prediction", second), ("label", labels)):
        for number, values in enumerate(each):
            if not np.all(np.isfinite(values)):
                raise ValueError(f"a {text} of configuration {number} is nan or infinite; expected numbers")
    if not isinstance(draws, int) or draws < 2:
        raise ValueError(f"draws = {draws!r}; expected a whole number of at least 2: an error is the spread of draws")
    fewest = min(c.n_particles for c in test)
    if not isinstance(per_edge, int) or per_edge < 2 or per_edge**3 > fewest:
        raise ValueError(
            f"per_edge = {per_edge!r}; expected a whole number of at least 2, and no more cubes than the {fewest} "
            "particles of a configuration"
        )
    if unknown := [kind for kind in kinds if kind not in TYPE_NAMES]:
        raise ValueError(f"types of particles {unknown}; expected some of {list(TYPE_NAMES)}")
