"""What must hold in a data set, and what should: arrays that agree, energies, relatives, equilibrium.

Each check states what it found, what was expected, how far apart the two may be, and who says so. It judges
configurations and changes nothing. A data set that lacks what a check needs has no row for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from ..liquid.configuration import SPLITS, Configuration
from ..liquid.kob_andersen import DENSITY, TAU_ALPHA, TYPE_NAMES, cutoffs, energy_per_particle, forces
from ..liquid.periodic import minimum_image
from .store import ARRAYS

RADIUS = 0.3
"""sigma_AA: a particle nearer than this to its place in another configuration shares it (cages are as wide)."""

LARGEST_STEP = 2e-3
"""Rounding coarser than this (sigma_AA or epsilon_AA) is no excuse: it would show in the labels."""

ENERGY_PER_STEP, FORCE_PER_STEP = 8.0, 1000.0
"""What positions rounded in steps of s do to a liquid at T = 0.50: the energy per particle is off by 6.3 s (root mean
square; 2.1 s in the inherent structure), the largest component of a force at rest by up to 700 s (both measured)."""

FALL, RISE = 0.05, 0.03
"""Caged particles hardly move away, and few runs of a small box scatter: with N = 1000 and 8 runs (the starter set's
first labels) the mean propensity fell by at most 1.7 % and F_s rose by at most 0.006 from one time to the next; with 32
runs, as now, by 0.3 % and 0.0006."""

SHARED, STRANGERS = 0.5, 6
"""Relatives one relaxation time apart share 27 % at T = 0.44: half is far too close. Strangers share a Poisson count of
mean 4/3 pi RADIUS^3 density = 0.14, more than six in less than one of 10^9 pairs."""

ENOUGH = 4
"""Configurations that a standard error needs before three of it decide anything."""

HARMONIC = 0.56
"""Up to this temperature the energy freed by a quench was found to stay what it is at T = 0.44, in units of 1.5 T. At
T = 0.64 it is 4 % more (standard set; its configurational temperature is right): vibrations are no longer harmonic."""
ENERGIES_044 = {"thermal": (-6.212, 0.004), "inherent": (-6.849, 0.008)}
"""Energy per particle and its error: T = 0.44, force-shifted (Shiba et al. 2023, recomputed). The thermal one is
the mean of twelve published configurations with a spread of 0.014."""

_Row = tuple[str, float, float, float, str]
_ALWAYS = ("positions", "types", "times")
_SHIBA = "Shiba et al., recomputed"


@dataclass(frozen=True)
class Check:
    """One number that a data set was asked for.

    Parameters
    ----------
    name : what was asked
    temperature : of the configurations, epsilon_AA / k_B; None where they state none
    found : the worst of them, or their mean
    expected : what it should be; nan for a number that is stated and not judged
    tolerance : how far from it the found one may be
    source : who expects it

    Examples
    --------
    >>> Check("energy", 0.44, -6.20, -6.21, 0.02, "the literature").holds
    True
    """

    name: str
    temperature: float | None
    found: float
    expected: float
    tolerance: float
    source: str

    @property
    def holds(self) -> bool:
        """Whether the found number is within the tolerance of the expected one."""
        return math.isnan(self.expected) or abs(self.found - self.expected) <= self.tolerance


def check_data(configurations: Sequence[Configuration]) -> list[Check]:
    """Every check that the configurations allow, temperature by temperature.

    All pairs of configurations of a temperature are compared, and all energies computed anew: seconds for
    the starter set, minutes for hundreds of configurations of 4096 particles.

    Parameters
    ----------
    configurations : at least one, of any temperatures

    Returns
    -------
    The checks by temperature. What holds only for the Kob-Andersen mixture (80:20, density 1.2), at one temperature or
    with one potential, is asked of such configurations alone.

    Raises
    ------
    ValueError
        If there is no configuration.

    Notes
    -----
    Numbers of the literature: Shiba et al., J. Chem. Phys. 158, 084503 (2023). The tolerances are the constants of this
    module, and the rounding that the stored numbers themselves show.

    Examples
    --------
    >>> from glasslit import load
    >>> checks = check_data(load("starter", T=0.5, split="train"))
    >>> [check.name for check in checks if not check.holds]
    []
    >>> next(check for check in checks if check.name == "propensity minus mean of its halves").expected
    0.0
    """
    checks: list[Check] = []
    for temperature, group in _by_temperature(configurations):
        worst: dict[str, Check] = {}
        for part in (_labels, _covariances, _relaxation, _energies, _bands, _relatives, _equilibrium):
            for name, found, expected, tolerance, source in part(group):
                check = Check(name, temperature, float(found), float(expected), float(tolerance), source)
                if name not in worst or _excess(check) > _excess(worst[name]):
                    worst[name] = check
        checks += worst.values()
    return checks


def describe(configurations: Sequence[Configuration]) -> pd.DataFrame:
    """What a data set holds: a row per temperature.

    Parameters
    ----------
    configurations : at least one

    Returns
    -------
    Table by temperature (nan: none stated): configurations in all and per split; particles N and how many are A and B;
    density (sigma_AA^-3); potential; runs per label; times; last time / tau_alpha (nan where no tau_alpha is known);
    the optional fields present, with a count where only some have them; engine. Where configurations of a temperature
    differ, their values stand side by side.

    Raises
    ------
    ValueError
        If there is no configuration.

    Examples
    --------
    >>> from glasslit import load
    >>> table = describe(load("starter", T=0.5))
    >>> table.loc[0.5, ["N", "runs per label", "times"]].tolist()
    ['1000', '32', '0.108..217 (7)']
    """
    rows = {}
    for temperature, group in _by_temperature(configurations):

        def each(value: Callable[[Configuration], object], group: list[Configuration] = group) -> str:
            return ", ".join(dict.fromkeys(str(value(c)) for c in group))

        have = {name: sum(getattr(c, name) is not None for c in group) for name in ARRAYS if name not in _ALWAYS}
        row: dict[str, object] = {"configurations": len(group)}
        row |= {split: sum(c.split == split for c in group) for split in SPLITS}
        row |= {
            "N": each(lambda c: c.n_particles),
            "A": each(lambda c: np.sum(c.types == 0)),
            "B": each(lambda c: np.sum(c.types == 1)),
            "density": each(lambda c: f"{c.density:.4g}"),
            "potential": each(lambda c: c.potential),
            "runs per label": each(lambda c: c.n_trajectories),
            "times": each(lambda c: f"{c.times[0]:g}..{c.times[-1]:g} ({len(c.times)})" if len(c.times) else None),
            "last time / tau_alpha": max((c.times[-1] / _tau(c) for c in group if len(c.times)), default=math.nan),
            "fields": ", ".join(f"{k} ({n} of {len(group)})" if n < len(group) else k for k, n in have.items() if n),
            "engine": each(lambda c: c.engine),
        }
        rows[math.nan if temperature is None else temperature] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("T")


def _by_temperature(configurations: Sequence[Configuration]) -> list[tuple[float | None, list[Configuration]]]:
    if not configurations:
        raise ValueError("no configurations; expected at least one: glasslit.load reads them from a file")
    found = sorted({c.temperature for c in configurations}, key=lambda t: math.inf if t is None else t)
    return [(t, [c for c in configurations if c.temperature == t]) for t in found]


def _standard(c: Configuration) -> bool:
    """Whether this is the liquid of the literature: 80:20 up to one particle, density 1.2."""
    share_a = np.mean(c.types == 0)
    return bool(abs(share_a - 0.8) <= 1 / c.n_particles and abs(c.density - DENSITY) < 1e-3)


def _tau(c: Configuration) -> float:
    return TAU_ALPHA.get(c.temperature or 0.0, math.nan) if _standard(c) else math.nan


def _step(values: np.ndarray) -> float:
    """How coarsely numbers are rounded: an upper bound, from the numbers themselves.

    Numbers on a grid are never closer than its step; numbers cut to a few bits (float32, float16) show zeros at the
    end of their fractions. Of M unrounded numbers the closest two are about range / M^2 apart: no excuse worth naming.
    """
    x = np.unique(np.asarray(values, dtype=np.float64))
    gap = np.diff(x).min() if len(x) > 1 else 0.0
    fraction, exponent = np.frexp(x)
    used = int(np.bitwise_or.reduce((np.abs(fraction) * 2.0**53).astype(np.int64)))
    cut = 2.0 ** (int(exponent.max()) - 53) * (used & -used)
    return min(max(float(gap), cut), LARGEST_STEP)


def _excess(check: Check) -> float:
    """How far past its tolerance; what is no number (the root of a negative msd) is as far as can be."""
    return math.inf if math.isnan(check.found) else abs(check.found - check.expected) - check.tolerance


def _error(values: list[float]) -> float:
    """Standard error of the mean."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _labels(group: list[Configuration]) -> Iterator[_Row]:
    grids = {tuple(c.times) for c in group if c.propensity is not None}
    if grids:
        yield "time grids beyond one", len(grids) - 1, 0, 0, "a network needs the same times for all"
    for c in group:
        if c.propensity is None or not c.propensity.size:
            continue
        m = c.propensity.astype(np.float64)
        yield "propensities not finite and positive", int(np.sum(~(np.isfinite(m) & (m > 0)))), 0, 0, "definition"
        present = [k for k in range(len(TYPE_NAMES)) if np.any(c.types == k)]
        mean = np.stack([m[:, c.types == k].mean(axis=1) for k in present], axis=1)
        if len(m) > 1:
            fall = -np.diff(mean, axis=0) / np.maximum(mean[:-1], 1e-12)
            yield "mean propensity of a type falls, by a share of", max(fall.max(), 0), 0, FALL, "particles move away"
        first = 0.5 if c.n_trajectories is None else c.n_trajectories // 2 / c.n_trajectories  # share of the runs
        for t, rounding in enumerate(map(_step, m)):
            if c.propensity_half is not None:
                half = c.propensity_half[:, t].astype(np.float64)
                off = np.abs(m[t] - first * half[0] - (1 - first) * half[1]).max()
                yield "propensity minus mean of its halves", off, 0, rounding + _step(half), "definition, rounding"
            if c.mean_displacement is not None:
                vector = c.mean_displacement[t].astype(np.float64)
                off = max((np.linalg.norm(vector, axis=1) - m[t]).max(), 0)
                yield "mean vector longer than mean length, by", off, 0, rounding + _step(vector), "triangle inequality"
            if c.msd is not None:
                with np.errstate(invalid="ignore"):
                    off = max((mean[t] - np.sqrt(c.msd[t, present], dtype=np.float64)).max(), 0)
                yield "mean length beyond root mean square, by", off, 0, rounding + 1e-6, "Jensen's inequality"


def _covariances(group: list[Configuration]) -> Iterator[_Row]:
    for c in group:
        if c.displacement_covariance is None or not len(c.times):
            continue
        entries = c.displacement_covariance.astype(np.float64)
        matrices = entries[..., [0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(*entries.shape[:2], 3, 3)
        rounding = 3 * _step(entries)
        off = max(-np.linalg.eigvalsh(matrices).min(), 0)
        yield "covariance with a negative eigenvalue, by", off, 0, rounding + 1e-6, "definition, rounding"
        if c.msd is None or c.mean_displacement is None or c.n_trajectories is None:
            continue
        vector = c.mean_displacement.astype(np.float64)
        share = (c.n_trajectories - 1) / c.n_trajectories
        square = np.square(vector).sum(axis=2) + share * entries[..., :3].sum(axis=2)  # (T, N)
        for k in range(len(TYPE_NAMES)):
            if np.any(c.types == k):
                off = np.abs(square[:, c.types == k].mean(axis=1) - c.msd[:, k]) / c.msd[:, k]
                noise = (rounding + _step(vector) * np.abs(vector).max()) / c.msd[:, k].min()
                yield "msd minus squared mean and covariance, as a share", off.max(), 0, noise + 1e-5, "definition"


def _relaxation(group: list[Configuration]) -> Iterator[_Row]:
    for f in (c.self_scattering.astype(np.float64) for c in group if c.self_scattering is not None and len(c.times)):
        outside = max((f - 1).max(), (-0.3 - f).max(), 0)
        yield "F_s outside of -0.3 to 1, by", outside, 0, 1e-6, "definition; sin(x) / x stays above -0.22"
        # past its first value below 1/e, F_s is mostly noise
        rises = np.diff(f, axis=0)[np.minimum.accumulate(f[:-1]) > np.exp(-1)]
        if rises.size:
            yield "F_s rises before it has fallen to 1/e, by", max(rises.max(), 0), 0, RISE, "particles move away"


def _energies(group: list[Configuration]) -> Iterator[_Row]:
    for c in group:
        if c.potential is None or c.box.min() < 2 * cutoffs(c.potential).max():
            continue
        for kind, positions, stored in (
            ("thermal", c.positions, c.potential_energy_thermal),
            ("inherent", c.inherent_positions, c.potential_energy_inherent),
        ):
            if positions is None:
                continue
            system = torch.tensor(positions), torch.tensor(c.types), torch.tensor(c.box)
            rounding = _step(positions)
            if stored is not None:
                off = np.sqrt(np.mean((energy_per_particle(*system, c.potential).numpy() - stored) ** 2))
                name = f"stored minus recomputed {kind} energy, root mean square"
                yield name, off, 0, ENERGY_PER_STEP * rounding + _step(stored), "definition, rounding"
            if kind == "inherent":
                push = forces(*system, c.potential).abs().max().item()
                yield "largest force in an inherent structure", push, 0, 1e-5 + FORCE_PER_STEP * rounding, "quench"


def _bands(group: list[Configuration]) -> Iterator[_Row]:
    group = [c for c in group if _standard(c) and c.temperature is not None]
    for kind, (expected, error) in ENERGIES_044.items():
        stored = [(c, getattr(c, f"potential_energy_{kind}")) for c in group if c.potential == "force-shifted"]
        means = [e.mean(dtype=np.float64) for c, e in stored if e is not None and c.temperature == 0.44]
        if len(means) >= ENOUGH:
            yield f"{kind} energy", np.mean(means), expected, 3 * math.hypot(_error(means), error), _SHIBA
    freed = [
        np.subtract(c.potential_energy_thermal, c.potential_energy_inherent, dtype=np.float64) / (1.5 * c.temperature)
        for c in group
        if c.potential_energy_thermal is not None and c.potential_energy_inherent is not None and c.temperature
        if c.temperature <= HARMONIC
    ]
    if freed:  # 3N vibrations share 1.5 N T, with a relative spread of root 2 / (3N)
        tolerance = max(0.04, 3 * math.sqrt(2 / (3 * sum(map(len, freed)))))
        mean = np.mean([f.mean() for f in freed])
        yield "energy freed by the quench / (1.5 T)", mean, 0.637 / 0.66, tolerance, f"{_SHIBA}, T = 0.44"


def shared_places(one: Configuration, other: Configuration) -> tuple[float, float, float] | None:
    """Which part of its places a configuration shares with another: much if both come from one simulation.

    Parameters
    ----------
    one, other : with their particles in the same order; a particle within :data:`RADIUS` of its place in the other,
        and of the same type, shares it

    Returns
    -------
    The part; what chance gives; what strangers never have. None where numbers of particles or boxes differ, so that
    nothing can be compared.
    """
    if one.n_particles != other.n_particles or not np.allclose(one.box, other.box):
        return None
    apart = minimum_image(one.positions - other.positions, one.box)
    shared = np.mean((np.einsum("nk,nk->n", apart, apart) < RADIUS**2) & (one.types == other.types))
    chance = 4 / 3 * math.pi * RADIUS**3 / float(np.prod(one.box))
    return float(shared), chance, chance + STRANGERS / one.n_particles


def _relatives(group: list[Configuration]) -> Iterator[_Row]:
    for one, other in combinations(group, 2):
        if (found := shared_places(one, other)) is None:
            continue
        shared, chance, tight = found
        yield "most shared places, any two", shared, 0, SHARED, f"chance is {chance:.2g}"
        splits = {one.split, other.split}
        if len(splits) == 2 and None not in splits:
            line = "training and evaluation" if "train" in splits else "validation and test"
            yield f"most shared places, {line}", shared, 0, tight, f"chance is {chance:.2g}"


def _equilibrium(group: list[Configuration]) -> Iterator[_Row]:
    records = [c.equilibration for c in group if c.equilibration is not None and len(c.equilibration)]
    for column, name in ((1, "energy"), (2, "F_s of A")):
        drifts = []
        for record in records:
            late = record[len(record) // 2 :, column]  # the first half is there to forget the start
            half = len(late) // 2
            if half:
                drifts.append(late[-half:].mean() - late[:half].mean())
        if len(drifts) >= ENOUGH:
            yield (
                f"drift of {name} in the second half of equilibration",
                np.mean(drifts),
                0,
                3 * _error(drifts),
                "steady state",
            )
    spans = [c.equilibration[-1, 0] / _tau(c) for c in group if c.equilibration is not None and len(c.equilibration)]
    if known := [span for span in spans if not math.isnan(span)]:
        yield "shortest equilibration / tau_alpha", min(known), math.nan, math.nan, "stated, not judged"
