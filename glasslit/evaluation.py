"""Scores of a trained network on configurations it has not seen, beside what is trivial and what is possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .configuration import Configuration
from .graph import required
from .kob_andersen import TYPE_NAMES
from .metrics import local_density, noise_ceiling, pearson, trivial_prediction
from .network import SE3GNN, check_times


def evaluate(
    net: SE3GNN,
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
    {"times": [...], "test": {"A": {"mean": [...], "pooled": [...], "ceiling": [...], "density": [...],
    "E_IS": [...]}, "B": {...}}}, one number per time: Pearson's correlation within configurations
    ("mean") and over all ("pooled"); the pooled noise ceiling, where half-ensembles are known; and the
    pooled correlations of two trivial predictors, the number of neighbors and the inherent-structure
    energy, where known. Plain floats; null stands for what is not defined.

    Raises
    ------
    ValueError
        If the times are not the network's, or labels are missing.
    """
    times = check_times(test, net.config.n_times)
    if not np.allclose(times, net.times, rtol=1e-6, atol=0):
        raise ValueError(
            f"labels at times {times.tolist()}; the model was trained for {net.times.tolist()}: use data with its times"
        )
    train = [c.at_times(times.tolist()) for c in train]
    types, labels = [c.types for c in test], [required(c, "propensity") for c in test]
    predictions = predictions if predictions is not None else [net.predict(c) for c in test]
    scores: dict[str, dict[str, np.ndarray]] = {
        "mean": pearson(predictions, labels, types, "mean"),
        "pooled": pearson(predictions, labels, types, "pooled"),
    }
    if all(c.propensity_half is not None for c in test):
        scores["ceiling"] = noise_ceiling([required(c, "propensity_half") for c in test], types, "pooled")
    field = "inherent_positions" if net.config.inputs.startswith("IS") else "positions"
    numbers: dict[str, Any] = {"density": lambda c: local_density(c, net.config.cutoff, field)}
    if all(c.potential_energy_inherent is not None for c in [*train, *test]):
        numbers["E_IS"] = lambda c: c.potential_energy_inherent
    for name, number in numbers.items():
        values = [number(c) for c in train]
        trivial = [trivial_prediction(train, values, c, number(c)) for c in test]
        scores[name] = pearson(trivial, labels, types, "pooled")
    return {
        "times": times.tolist(),
        "test": {
            kind: {
                name: [float(v) if np.isfinite(v) else None for v in by_type[kind]] for name, by_type in scores.items()
            }
            for kind in TYPE_NAMES
        },
    }
