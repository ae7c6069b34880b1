r"""Labels from runs that share their start and differ in their velocities (isoconfigurational ensembles).

.. math:: \Delta_i(t) = \big\langle |x_i(t) - x_i(0)| \big\rangle_\text{runs}

A displacement needs to know which particle is which, and where it went: ids are compared, boxes too, and positions that
were folded back into the box are recognized by jumps that no diffusion makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..liquid.configuration import VOIGT, Configuration
from ..liquid.kob_andersen import TYPE_NAMES, WAVE_NUMBER
from ..liquid.periodic import minimum_image

SHORT = 6.0
"""While displacements are small, their root mean square below half of the box divided by this, those of particles that
were folded back are a box edge long, give or take such a small one; real hops, however far, end anywhere."""
STICKS_OUT = 0.5
"""sigma_AA: how far particles of a folded snapshot lie outside of the box, as LAMMPS leaves them for a while."""
LOST = 4.0
"""Folded displacements whose root mean square is more than half of the box divided by this may be any of several."""
DRIFT = 0.5
"""sigma_AA: a center of mass rests; a shift of all particles by more is one of the origin, or a drift."""


def from_isoconfigurational(
    initial: Configuration,
    finals: Sequence[Any] | np.ndarray,
    times: Sequence[float],
    *,
    wrapped: bool = False,
    covariance: bool = False,
) -> Configuration:
    r"""Labels from runs that share their start and differ in their velocities.

    .. math:: \Delta_i(t) = \big\langle |x_i(t) - x_i(0)| \big\rangle_\text{runs}

    Parameters
    ----------
    initial : where all runs start
    finals : for each run what it came to at each time: positions of shape (T, N, 3), sigma_AA, in the particle order of
        ``initial``, or T configurations, whose ids are compared with those of ``initial`` where both have ids
    times : T of them, Lennard-Jones units, increasing
    wrapped : whether positions were folded back into the box; displacements are then taken by minimum image
    covariance : whether to keep the covariance of each particle's displacement, too, which makes labels four times as
        large

    Returns
    -------
    ``initial`` with ``times``, ``propensity``, ``propensity_half`` (first and second half of the runs; from two runs
    on), ``mean_displacement``, ``msd``, ``self_scattering`` and ``n_trajectories``; with ``covariance`` also
    ``displacement_covariance`` and (from four runs on) ``displacement_covariance_half``

    Raises
    ------
    ValueError
        If shapes do not fit, ids, types or boxes differ, times are out of order, positions look folded and are not said
        to be, are said to be and moved too far to tell where, or all particles move together; or if a covariance is
        asked for of one run.
    """
    times = [float(t) for t in times]
    if not times or times[0] <= 0 or any(b <= a for a, b in pairwise(times)):
        raise ValueError(
            f"times {times}; expected positive, increasing times: sort them, and their positions with them"
        )
    if len(finals) == 0:
        raise ValueError("no runs; expected at least one: give their positions as finals")
    n, runs = initial.n_particles, []
    for k, run in enumerate(finals):
        if isinstance(run, Configuration):
            raise ValueError(
                f"finals[{k}] is a configuration; expected for each run the list of its {len(times)} snapshots, one "
                "for each time: finals=[[first], [second], ...]"
            )
        if len(run) != len(times):
            raise ValueError(f"run {k} has {len(run)} snapshots; expected {len(times)}, one for each of times {times}")
        each = [_matched(initial, c, k) if isinstance(c, Configuration) else c for c in run]
        positions = np.asarray(each, dtype=np.float64)
        if positions.shape != (len(times), n, 3):
            raise ValueError(f"run {k} has positions of shape {positions.shape}; expected {(len(times), n, 3)}")
        runs.append(positions)
    displacements = _displacements(initial, np.stack(runs), times, wrapped)
    return initial.replace(**statistics(displacements, initial.types, times, covariance))


def _matched(initial: Configuration, final: Configuration, run: int) -> np.ndarray:
    """Positions of a snapshot in the particle order of the start."""
    where = f"run {run}" + (f" ({final.name})" if final.name else "")
    if final.n_particles != initial.n_particles:
        raise ValueError(
            f"{where}: {final.n_particles} particles, the start has {initial.n_particles}; expected the same"
        )
    order = np.arange(initial.n_particles)
    if initial.ids is not None and final.ids is not None:
        mine, theirs = np.argsort(initial.ids), np.argsort(final.ids)
        if not np.array_equal(initial.ids[mine], final.ids[theirs]):
            strange = np.setdiff1d(final.ids, initial.ids)
            raise ValueError(
                f"{where}: ids {strange[:5].tolist()}{' and more' if len(strange) > 5 else ''} are not in the start; "
                "expected the same particles: is it another simulation?"
            )
        order[mine] = theirs
    if not np.array_equal(final.types[order], initial.types):
        raise ValueError(
            f"{where}: types are not those of the start; expected the same particles in the same order: sort them by "
            "their ids"
        )
    if not np.allclose(final.box, initial.box, rtol=1e-6, atol=0):
        raise ValueError(
            f"{where}: a box of {np.round(final.box, 6).tolist()}, the start has {np.round(initial.box, 6).tolist()}; "
            "expected the same, as in NVE or NVT: what a displacement is in a box that changes is not defined"
        )
    return final.positions[order]


def _displacements(initial: Configuration, finals: np.ndarray, times: list[float], wrapped: bool) -> np.ndarray:
    """What each particle moved, shape (R, T, N, 3); refused where the positions do not tell."""
    half = initial.box / 2
    moved = finals - initial.positions
    folded = minimum_image(moved, initial.box)
    width = np.sqrt((folded**2).mean(axis=(0, 2)))  # (T, 3)
    for k, t in enumerate(times):
        jumps = np.abs(moved[:, k]) > half  # (R, N, 3)
        edge = jumps & (np.abs(folded[:, k]) < 3 * width[k])
        if wrapped and np.any(width[k] > half / LOST):
            raise ValueError(
                f"t = {t:g}: folded positions moved by {width[k].max():.2g} in each direction, in a box of "
                f"{initial.box.min():.4g}; the time is too long to tell where particles went that were folded back: "
                "expected unwrapped ones (dump xu yu zu, or image flags)"
            )
        if wrapped or not jumps.any():
            continue
        reach = np.ptp(finals[:, k], axis=(0, 1))
        short = np.all(width[k] < half / SHORT)
        if short and 2 * edge.sum() >= jumps.sum():
            why = "by an edge of the box, the others hardly"
        elif not short and np.all(reach <= initial.box + 2 * STICKS_OUT):
            why = "by more than half of the box, and all positions lie in one box"
        else:
            continue
        raise ValueError(
            f"t = {t:g}: {int(jumps.any(axis=(0, 2)).sum())} particles move {why}: positions look folded back into the "
            "box (wrapped); expected unwrapped ones (dump xu yu zu, or image flags), or say wrapped=True"
        )
    displacements = folded if wrapped else moved
    together = displacements.mean(axis=2)  # (R, T, 3)
    error = displacements.std(axis=2) / np.sqrt(initial.n_particles)
    drifts = np.argwhere(np.abs(together) > np.maximum(DRIFT, 8 * error))
    if len(drifts):
        r, k, _ = drifts[0]
        raise ValueError(
            f"run {r}, t = {times[k]:g}: particles move together, by {np.round(together[r, k], 3).tolist()}; "
            "expected a center of mass at rest: is the origin another one? Shift them, or take out the drift"
        )
    return displacements


def displacement_covariance(displacements: np.ndarray) -> np.ndarray:
    r"""How a particle's displacement scatters over the runs, and in which directions.

    .. math:: C_i(t) = \frac{1}{R - 1} \sum_{r=1}^{R} \big(d_i^r - \bar d_i\big) \big(d_i^r - \bar d_i\big)^\mathsf{T}

    Parameters
    ----------
    displacements : shape (R, ..., 3), sigma_AA, of R runs

    Returns
    -------
    shape (..., 6), sigma_AA^2: xx, yy, zz, yz, xz, xy

    Raises
    ------
    ValueError
        If there is but one run.

    Examples
    --------
    >>> displacement_covariance(np.array([[1.0, 0, 0], [-1.0, 0, 0]])).tolist()
    [2.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    runs = len(displacements)
    if runs < 2:
        raise ValueError(
            f"a covariance over {runs} run; expected at least 2 runs: make more, or leave the covariance out"
        )
    apart = displacements - displacements.mean(axis=0)
    products = [(apart[..., a] * apart[..., b]).sum(axis=0) for a, b in zip(*VOIGT, strict=True)]
    return np.stack(products, axis=-1) / (runs - 1)


def statistics(
    displacements: np.ndarray, types: np.ndarray, times: Sequence[float], covariance: bool = False
) -> dict[str, Any]:
    """What a configuration keeps of its runs.

    Parameters
    ----------
    displacements : shape (R, T, N, 3), sigma_AA
    types : shape (N,)
    times : T of them
    covariance : whether the covariance of displacements is kept, of all runs and (from four runs on) of both halves

    Returns
    -------
    Fields of :class:`~glasslit.Configuration`

    Raises
    ------
    ValueError
        If a covariance is asked for of one run.
    """
    displacements = np.asarray(displacements, dtype=np.float64)
    distance = np.linalg.norm(displacements, axis=-1)
    of_type = [types == k for k in range(len(TYPE_NAMES))]
    scattering = np.cos(WAVE_NUMBER * displacements).mean(axis=(0, 3))
    half = len(displacements) // 2

    def by_type(values: np.ndarray) -> np.ndarray:
        return np.stack([values[:, s].mean(axis=1) for s in of_type], axis=1)

    present = all(s.any() for s in of_type)
    further: dict[str, Any] = {}
    if covariance:
        further["displacement_covariance"] = displacement_covariance(displacements)
        if half > 1:
            halves = [displacement_covariance(part) for part in (displacements[:half], displacements[half:])]
            further["displacement_covariance_half"] = np.stack(halves)
    return {
        "times": np.asarray(times, dtype=np.float64),
        "propensity": distance.mean(axis=0),
        "propensity_half": np.stack([distance[:half].mean(axis=0), distance[half:].mean(axis=0)]) if half else None,
        "mean_displacement": displacements.mean(axis=0),
        "msd": by_type((distance**2).mean(axis=0)) if present else None,
        "self_scattering": by_type(scattering) if present else None,
        "n_trajectories": len(displacements),
        **further,
    }
