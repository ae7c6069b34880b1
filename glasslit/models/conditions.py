"""What a network was trained on, in a few numbers, and whether a configuration lies within them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..liquid.configuration import Configuration
from ..liquid.graph import parse_inputs, required
from ..liquid.kob_andersen import TYPE_NAMES
from ..liquid.periodic import neighbor_distances, neighbor_pairs
from ..warned import warn

TOLERANCE = {
    "temperature": 0.01,
    "density": 0.01,
    "fraction of B": 0.01,
    "neighbors of A": 0.02,
    "neighbors of B": 0.02,
}
"""How far outside the range of training a number may lie before it is told of: relative, of the fraction absolute."""
CLOSEST = 0.5
"""sigma_AA: nearer than this no two particles of the liquid come; in the shipped sets none is below 0.74."""
FAR = 1000.0
"""Spreads of the training labels from their mean. No propensity that is predicted for a liquid comes near: the farthest
of the stored networks is 107, from T = 0.44 to 0.64. For random positions, sums that were never large in training give
up to 1e15."""
UNITS = {"temperature": "epsilon_AA / k_B", "density": "per sigma_AA^3"}


def conditions(configurations: Sequence[Configuration], cutoff: float, inputs: str) -> dict[str, Any]:
    """Ranges over configurations of what a network's predictions depend on.

    Parameters
    ----------
    configurations : at least one
    cutoff : of the neighbors, sigma_AA
    inputs : one of :data:`glasslit.liquid.graph.INPUTS`; its positions are those whose neighbors are counted

    Returns
    -------
    {"temperature": [lowest, highest], "density": ..., "fraction of B": ..., "neighbors of A": ..., "neighbors of B":
    ...}, plain floats; without "temperature" where one of them is unknown, without neighbors of a type that is missing
    """
    found = [_numbers(c, cutoff, inputs) for c in configurations]
    names = [name for name in TOLERANCE if all(name in numbers for numbers in found)]
    return {name: [min(numbers[name] for numbers in found), max(numbers[name] for numbers in found)] for name in names}


def outside(
    trained_on: Mapping[str, Sequence[float]], configuration: Configuration, cutoff: float, inputs: str
) -> dict[str, str]:
    """What of a configuration lies outside the range of training, by name, with its numbers.

    Parameters
    ----------
    trained_on : as :func:`conditions` returns it
    configuration, cutoff, inputs : as there

    Raises
    ------
    ValueError
        If the mixture is another one, with a share of B more than a tenth off; or the density, which also tells of
        lengths in other units, more than a third; or particles overlap.

    Examples
    --------
    >>> from glasslit import load
    >>> first, *_, last = load("starter")
    >>> outside(conditions([first], 2.0, "thermal"), last, 2.0, "thermal")["temperature"]
    '0.56 epsilon_AA / k_B; trained from 0.44 to 0.44'
    """
    told, called = {}, configuration.name or repr(configuration)
    for name, value in _numbers(configuration, cutoff, inputs).items():
        if name in trained_on:
            low, high = trained_on[name]
            if name == "fraction of B" and not low - 0.1 <= value <= high + 0.1:
                raise ValueError(
                    f"{called}: a fraction of B of {value:.3g}, {low:.3g} to {high:.3g} in training; expected "
                    "the same mixture: are A and B exchanged, or is it another liquid?"
                )
            if name == "density" and not low / 1.5 <= value <= high * 1.5:
                raise ValueError(
                    f"{called}: a density of {value:.3g} per sigma_AA^3, {low:.3g} to "
                    f"{high:.3g} in training; expected about the same: are lengths in units of sigma_AA?"
                )
            slack = TOLERANCE[name] * (1.0 if name == "fraction of B" else abs(high))
            if not low - slack <= value <= high + slack:
                unit = f" {UNITS[name]}" if name in UNITS else ""
                told[name] = f"{value:.4g}{unit}; trained from {low:.4g} to {high:.4g}"
    distances = neighbor_distances(configuration.positions, configuration.box, CLOSEST)[1]
    if len(distances):
        raise ValueError(
            f"{called}: {len(distances)} pairs of particles closer than {CLOSEST} sigma_AA, the closest at "
            f"{distances.min():.2g}; expected a liquid, whose particles keep apart: is the box the right one?"
        )
    return told


def check_predicted(configuration: Configuration, target: str, values: Tensor, scaled: Tensor) -> None:
    """Refuse predictions that are not finite, and warn of those that are farther than :data:`FAR` from the labels.

    Parameters
    ----------
    configuration : what the predictions are for
    target : what is predicted
    values : shape (N, T, ...)
    scaled : the same, counted from the mean of the training labels in units of their spread

    Raises
    ------
    ValueError
        If a prediction is not finite.
    """
    called = configuration.name or repr(configuration)
    bad = int((~torch.isfinite(values)).flatten(1).any(dim=1).sum())
    if bad:
        raise ValueError(
            f"{called}: the {target} predicted for {bad} particles is not finite; expected numbers: did the training "
            "of the network diverge, or is this no liquid?"
        )
    if bool((scaled.abs() > FAR).any()):
        warn(
            f"{called}: the {target} is predicted more than {FAR:g} spreads of the training labels from their mean: "
            "the network knows no such liquid, and its numbers mean nothing here"
        )


def _numbers(c: Configuration, cutoff: float, inputs: str) -> dict[str, float]:
    pairs = neighbor_pairs(required(c, parse_inputs(inputs).positions), c.box, cutoff)
    neighbors = np.bincount(pairs.ravel(), minlength=c.n_particles)
    numbers = {} if c.temperature is None else {"temperature": c.temperature}
    numbers |= {"density": c.density, "fraction of B": float(np.mean(c.types == 1))}
    for kind, name in enumerate(TYPE_NAMES):
        if np.any(c.types == kind):
            numbers[f"neighbors of {name}"] = float(neighbors[c.types == kind].mean())
    return numbers
