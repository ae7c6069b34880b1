"""In which unit a network counts time: Lennard-Jones time, or the relaxation time of each liquid.

A network for several temperatures has to be asked about the same stage of the relaxation at each of them. Times of two
liquids that are the same part of their relaxation times are such (Fig. 9 of the paper compares temperatures there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TAU_ALPHA
from .decoders import temperature_of

TIME_UNITS = ("LJ", "tau_alpha")
"""Lennard-Jones time; or the relaxation time tau_alpha at a configuration's temperature."""

SAME_PART = 1.1
"""Two times are the same part of their relaxation times if the parts differ by less than this factor."""


def check_time_unit(unit: str) -> str:
    """The name, if it is one of :data:`TIME_UNITS`; else a ``ValueError``."""
    if unit not in TIME_UNITS:
        raise ValueError(f"time_unit {unit!r}; expected one of {', '.join(TIME_UNITS)}")
    return unit


def relaxation_time(temperature: float, tau_alpha: Mapping[float, float] = TAU_ALPHA) -> float:
    """tau_alpha at a temperature, Lennard-Jones units.

    Parameters
    ----------
    temperature : epsilon_AA / k_B
    tau_alpha : by temperature, by default the published ones

    Raises
    ------
    ValueError
        If it is not known there.

    Examples
    --------
    >>> relaxation_time(0.56)
    52.0
    """
    if round(temperature, 2) not in tau_alpha:
        raise ValueError(
            f"no tau_alpha for T = {temperature:g}; it is known for {sorted(tau_alpha)}: take one of these, or, where "
            "a function has the parameter, give tau_alpha={T: ...}"
        )
    return tau_alpha[round(temperature, 2)]


def parts_of(configuration: Configuration) -> np.ndarray:
    """Its times as parts of tau_alpha at its temperature, shape (T,).

    Raises
    ------
    ValueError
        If its temperature is unknown, or tau_alpha at it.
    """
    return configuration.times / relaxation_time(temperature_of(configuration))


def places(parts: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Where each wanted part stands among others, up to :data:`SAME_PART`; None if one does not."""
    apart = np.abs(np.log(parts[None, :] / wanted[:, None]))
    at = apart.argmin(axis=1)
    return at if np.all(apart.min(axis=1) < np.log(SAME_PART)) and len(set(at)) == len(at) else None


def at_common_parts(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Each with the times only that all have, as parts of their relaxation times.

    Parameters
    ----------
    configurations : labelled, with temperatures at which tau_alpha is known

    Raises
    ------
    ValueError
        If there is none, a temperature or tau_alpha is unknown, or they have no part in common.

    Examples
    --------
    >>> from glasslit import load
    >>> cold, hot = load("starter", T=0.44)[0], load("starter", T=0.56)[0]
    >>> [c.times.tolist() for c in at_common_parts([cold, hot])]
    [[130.0, 412.0, 1300.0, 4120.0], [1.65, 5.2, 16.5, 52.0]]
    """
    if not configurations:
        raise ValueError("no configurations; expected at least one")
    parts = [parts_of(c) for c in configurations]
    common = [part for part in parts[0] if all(places(p, np.array([part])) is not None for p in parts)]
    if not common:
        grids = {temperature_of(c): np.round(p, 4).tolist() for c, p in zip(configurations, parts, strict=True)}
        told = "; ".join(f"T = {temperature:g}: {grid}" for temperature, grid in sorted(grids.items()))
        raise ValueError(f"no part of tau_alpha in common ({told}); expected one: give labels at matching times")
    found = []
    for c, p in zip(configurations, parts, strict=True):
        at = places(p, np.array(common))
        if at is None:
            raise ValueError(f"{c!r}: several times stand for one part of tau_alpha; expected a grid wider than 10 %")
        found.append(c.at_times(c.times[at].tolist()))
    return found


def counted_in_parts(configurations: Sequence[Configuration], parts: np.ndarray | None = None) -> list[Configuration]:
    """The same with their times as parts of tau_alpha, equal in all.

    Parameters
    ----------
    configurations : labelled at the same parts, up to :data:`SAME_PART`, such as :func:`at_common_parts` returns them
    parts : to count by; by default the geometric mean over the temperatures

    Raises
    ------
    ValueError
        If a configuration has other parts, or as :func:`parts_of`.
    """
    own = [parts_of(c) for c in configurations]
    if parts is None and own:
        grids = {temperature_of(c): p for c, p in zip(configurations, own, strict=True)}
        if len({len(p) for p in grids.values()}) == 1:
            mean = np.exp(np.mean([np.log(grids[t]) for t in sorted(grids)], axis=0))
            parts = np.array([float(f"{part:.7g}") for part in mean])  # as a network keeps them
    for c, p in zip(configurations, own, strict=True):
        if parts is None or len(p) != len(parts) or np.any(np.abs(np.log(p / parts)) >= np.log(SAME_PART)):
            wanted = "as many as the others" if parts is None else np.round(parts, 4).tolist()
            raise ValueError(
                f"{c!r} has labels at parts {np.round(p, 4).tolist()} of tau_alpha, the others at {wanted}; expected "
                "the same: cut them with glasslit.models.clock.at_common_parts"
            )
    return [c.replace(times=parts) for c in configurations]
