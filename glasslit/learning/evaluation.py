"""Scores of a trained network on configurations it has not seen, beside what is trivial and what is possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..data.published import GLASSBENCH
from ..liquid.configuration import Configuration
from ..liquid.graph import required
from ..liquid.kob_andersen import GLASSBENCH_CEILING, TYPE_NAMES
from ..liquid.structure import local_density
from ..models.propensity import PropensityNetwork, check_times
from .metrics import check_comparison, gain_of_regions, noise_ceiling, on_lines, pearson, straight_lines
from .tensors import covariance_scores
from .vectors import vector_scores

FURTHER = {"mean_displacement": vector_scores, "displacement_covariance": covariance_scores}
"""How further targets are scored, by the field of a configuration that holds their label."""


def evaluate(
    net: PropensityNetwork,
    train: Sequence[Configuration],
    test: Sequence[Configuration],
    predictions: Sequence[np.ndarray] | None = None,
) -> dict[str, Any]:
    """Scores on configurations that took no part in training or selection.

    Parameters
    ----------
    net : a trained network
    train : the configurations it was trained on; the trivial predictors learn slope and sign from them
    test : labelled configurations
    predictions : shape (T, N) for each test configuration, where they are at hand; by default ``net`` makes them

    Returns
    -------
    {"times": [...], "test": {"A": {"mean": [...], "pooled": [...], "ceiling": [...], "ceiling_within": [...],
    "density": [...], "E_IS": [...]}, "B": {...}}}, one number per time: Pearson's correlation within configurations
    ("mean") and over all ("pooled"); the noise ceilings of both, "ceiling" of the pooled score and "ceiling_within",
    the mean over configurations of each one's own ceiling, where half-ensembles are known (for GlassBench's files,
    which hold none, the published pooled one); and the pooled correlations of two trivial predictors, the number of
    neighbors and the inherent-structure energy, where known. Plain floats; null stands for what is not defined. A
    network that counts time in tau_alpha says so in "time_unit". A further target has an entry of its own beside
    "test", by its name: see :func:`~glasslit.learning.vectors.vector_scores` and
    :func:`~glasslit.learning.tensors.covariance_scores`.

    Raises
    ------
    ValueError
        If the times are not the network's, or labels are missing.
    """
    train, test = net.in_own_times(train), net.in_own_times(test)
    times = check_times(test, net.config.n_times)
    if not np.allclose(times, net.times, rtol=1e-6, atol=0):
        raise ValueError(
            f"labels at times {times.tolist()}; the model was trained for {net.times.tolist()}: use data with its times"
        )
    test = list(test)
    types, labels = [c.types for c in test], [required(c, "propensity") for c in test]
    predictions = predictions if predictions is not None else [net.predict(c) for c in test]
    scores: dict[str, dict[str, np.ndarray]] = {
        "mean": pearson(predictions, labels, types, "mean"),
        "pooled": pearson(predictions, labels, types, "pooled"),
    }
    if all(c.propensity_half is not None for c in test):
        scores |= _ceilings(test)
    elif all(c.engine == GLASSBENCH for c in test):
        scores["ceiling"] = _published_ceiling(test[0].temperature, times)
    for name, predictions in _trivial(net, train, test, times).items():
        scores[name] = pearson(predictions, labels, types, "pooled")
    further = {name: FURTHER[head.field] for name, head in net.further() if head.field in FURTHER}
    return {
        "times": times.tolist(),
        **({} if net.time_unit == "LJ" else {"time_unit": net.time_unit}),
        **{name: score([net.predict(c, name) for c in test], train, test) for name, score in further.items()},
        "test": {
            kind: {
                name: [float(v) if np.isfinite(v) else None for v in by_type[kind]] for name, by_type in scores.items()
            }
            for kind in TYPE_NAMES
        },
    }


def _trivial(
    net: PropensityNetwork, train: Iterable[Configuration], test: Sequence[Configuration], times: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """Predictions (T, N) for each test configuration from one number per particle. Of ``train`` one pass is made."""
    field = "inherent_positions" if net.config.inputs.startswith("IS") else "positions"
    numbers: dict[str, Callable[[Configuration], Any]] = {
        "density": lambda c: local_density(c, net.config.cutoff, field),
        "E_IS": lambda c: c.potential_energy_inherent,
    }
    types, labels, values = [], [], {name: list[Any]() for name in numbers}
    for c in train:
        c = c.at_times(times.tolist())
        types.append(c.types)
        labels.append(required(c, "propensity"))
        for name, number in numbers.items():
            values[name].append(number(c))
    found = {}
    for name, number in numbers.items():
        asked = [number(c) for c in test]
        if all(v is not None for v in [*values[name], *asked]):
            lines = straight_lines(values[name], labels, types)
            found[name] = [on_lines(lines, v, c.types) for v, c in zip(asked, test, strict=True)]
    return found


def _ceilings(test: Sequence[Configuration]) -> dict[str, dict[str, np.ndarray]]:
    """Noise ceilings of labels with known half-ensembles: pooled, and the mean of those of each configuration."""
    halves, types = [required(c, "propensity_half") for c in test], [c.types for c in test]
    return {
        "ceiling": noise_ceiling(halves, types, "pooled"),
        "ceiling_within": noise_ceiling(halves, types, "mean"),
    }


def _published_ceiling(temperature: float | None, times: np.ndarray) -> dict[str, np.ndarray]:
    """What GlassBench's authors state where its files hold no halves of the runs: pooled, for A; nan elsewhere."""
    known = GLASSBENCH_CEILING.get(temperature or 0.0, {})
    unknown = np.full(len(times), np.nan)
    return {"A": np.array([known.get(float(t), np.nan) for t in times]), "B": unknown}


def paired_gain(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    test: Sequence[Configuration],
    *,
    draws: int = 1000,
    per_edge: int = 2,
    seed: int = 0,
    kinds: Sequence[str] = TYPE_NAMES,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """How much better the second of two predictions is than the first on the same particles, and how sure that is.

    Compared is Pearson's correlation within configurations. Its error comes from a bootstrap that draws regions, as
    neighbors are alike: each configuration is cut into cubes, as many are drawn with replacement, the same for both.
    What another test configuration or another training would change is not in it.

    Parameters
    ----------
    first, second : shape (T, N) for each test configuration
    test : labelled configurations
    draws : of the bootstrap, at least 2
    per_edge : cubes along an edge of the box, at least 2
    seed : of the draws
    kinds : types of particles

    Returns
    -------
    {"A": (difference, shape (T,); its standard error, shape (T,)), "B": ...}; nan where a correlation is not defined,
    since a type is absent or a prediction is constant

    Raises
    ------
    ValueError
        If numbers, shapes or times of predictions, labels and configurations do not agree, if one is not finite, or if
        there is no configuration, or no such type, number of draws or of cubes.

    Notes
    -----
    Efron and Tibshirani, An Introduction to the Bootstrap, chapter 8 (blocks).
    """
    labels = [required(c, "propensity").astype(np.float64) for c in test]
    return gain_of_regions(first, second, labels, test, _moments, _correlations, draws, per_edge, seed, kinds)


def _moments(p: np.ndarray, q: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What each particle adds to the sums of :func:`_correlations`, shape (9, T, n)."""
    x = np.stack([np.asarray(v, dtype=np.float64) for v in (p, q, y)])  # (3, T, n)
    x -= x.mean(axis=-1, keepdims=True)  # so that sums of squares lose no digits
    return np.concatenate([np.ones_like(x[:1]), x, x * x, x[:2] * x[2]])


def _correlations(sums: np.ndarray) -> np.ndarray:
    """Of two predictions with the labels, shape (2, ...), from nine sums: 1, p, q, y, p^2, q^2, y^2, py, qy."""
    n, mean, square, product = sums[0], sums[1:4], sums[4:7], sums[7:9]
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = square / n - (mean / n) ** 2
        return (product / n - mean[:2] * mean[2] / n**2) / np.sqrt(variance[:2] * variance[2])


def paired_removal(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    test: Sequence[Configuration],
    *,
    draws: int = 1000,
    per_edge: int = 2,
    seed: int = 0,
    kinds: Sequence[str] = TYPE_NAMES,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    r"""What share of the first prediction's error the second removes on the same particles, and how sure that is.

    A prediction whose correlation with the labels is :math:`\rho`, where :math:`c` is possible (their noise ceiling),
    correlates with the labels without noise as :math:`\rho / c`. On its best scale it deviates from these by

    .. math:: e = \sqrt{1 - (\rho / c)^2}

    in units of their spread (root mean square). Returned is :math:`\ln(e_1 / e_2)`, since it adds up along several
    steps; the share that is removed is :math:`1 - e_2 / e_1`, which is 1 - exp(-value). A negative correlation counts
    as none. The error comes from a bootstrap as in :func:`paired_gain`; the ceilings are taken as known.

    Parameters
    ----------
    first, second : shape (T, N) for each test configuration
    test : labelled configurations, with half-ensembles
    draws, per_edge, seed, kinds : as in :func:`paired_gain`

    Returns
    -------
    {"A": (ln(e_1 / e_2), shape (T,); its standard error, shape (T,)), "B": ...}, averaged over configurations

    Raises
    ------
    ValueError
        As :func:`paired_gain`; if there are no half-ensembles; if there are no particles of a type, or their labels,
        the halves of these or a prediction are constant; or if a correlation, of all particles or of drawn regions, is
        not below the ceiling, so that no error is left to remove. ``kinds=("A",)`` leaves the other type out.

    Examples
    --------
    Half of the noise is half of the error:

    >>> from glasslit.testing import random_liquid
    >>> rng = np.random.default_rng(0)
    >>> y, noise = rng.normal(size=(2, 1, 4000))
    >>> c = random_liquid(4000).replace(times=[1.0], propensity=y, propensity_half=[y, y])
    >>> value, error = paired_removal([y + 0.2 * noise], [y + 0.1 * noise], [c])["A"]
    >>> print(np.round(1 - np.exp(-value), 2))
    [0.49]
    """
    halves, types = [required(c, "propensity_half") for c in test], [c.types for c in test]
    labels = [required(c, "propensity").astype(np.float64) for c in test]
    check_comparison(first, second, labels, test, draws, per_edge, kinds)
    ceilings = noise_ceiling(halves, types, "mean")
    reached = [pearson(p, labels, types) for p in (first, second)]
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in kinds:
        ceiling, rho = ceilings[name], np.stack([each[name] for each in reached])
        told = f"correlations {rho.round(3).tolist()} on {name} particles, noise ceiling {ceiling.round(3).tolist()}"
        if not np.all(np.isfinite(rho)) or not np.all(ceiling > 0):
            raise ValueError(
                f"{told}; expected numbers, and a ceiling above 0: are there such particles, and do predictions, "
                "labels and their halves differ between them? kinds chooses types"
            )
        after = partial(_log_errors, ceiling=ceiling)
        found |= gain_of_regions(first, second, labels, test, _moments, after, draws, per_edge, seed, (name,))
        value, error = found[name]
        mend = "compare with paired_gain, or choose other types with kinds"
        if not np.all(np.isfinite(value)):
            raise ValueError(
                f"{told}; expected each below the noise ceiling, so that some error is left to remove: {mend}"
            )
        if not np.all(np.isfinite(error)):
            raise ValueError(
                f"{told}, which some of the drawn regions reach; expected an error in each of them: {mend}"
            )
    return found


def _log_errors(sums: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """-ln e of two predictions, shape (2, T, ...), from the sums of :func:`_moments`; not finite beyond the ceiling."""
    reached = np.clip(_correlations(sums), 0, None) / ceiling.reshape(-1, *[1] * (sums.ndim - 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        logarithm: np.ndarray = np.log(1 - reached**2)
    return -0.5 * logarithm
