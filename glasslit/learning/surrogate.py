r"""A surrogate model: how much of a network's output a linear model of quantities with names explains.

The fit never sees a label. What it learns from is what the network predicts, so that it describes the network and not
the liquid. What a single neighbor does to a prediction is :mod:`glasslit.learning.sensitivity`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..liquid.configuration import Configuration
from ..liquid.graph import VECTORS, node_vectors, required
from ..liquid.kob_andersen import TYPE_NAMES
from ..liquid.periodic import neighbor_distances
from ..liquid.structure import local_density, spatial_blocks
from ..models.descriptors import averaged, bond_order
from ..models.ridge import ridge_path

FIRST_SHELL = 1.4
"""Distance of the first minimum of g(r) of A particles, sigma_AA."""
NEIGHBORHOOD = 2.0
"""Distance up to which neighbors are counted and averaged over, the cutoff of the network's graph, sigma_AA."""


def _near(kind: int) -> Callable[[Configuration], np.ndarray]:
    def count(c: Configuration) -> np.ndarray:
        pairs, _ = neighbor_distances(c.positions, c.box, FIRST_SHELL)
        center, other = np.concatenate([pairs, pairs[:, ::-1]]).T
        return np.bincount(center[c.types[other] == kind], minlength=c.n_particles).astype(np.float64)

    return count


def _length(c: Configuration) -> np.ndarray:
    return np.linalg.norm(node_vectors(c, VECTORS["u_IS"]), axis=1)


def _energy(c: Configuration) -> np.ndarray:
    return required(c, "potential_energy_inherent").astype(np.float64)


def _around(values: Callable[[Configuration], np.ndarray]) -> Callable[[Configuration], np.ndarray]:
    return lambda c: averaged(values(c)[:, None], c, NEIGHBORHOOD)[:, 0]


DESCRIPTORS: dict[str, Callable[[Configuration], np.ndarray]] = {
    "A in the first shell": _near(0),
    "B in the first shell": _near(1),
    "density": lambda c: local_density(c, NEIGHBORHOOD),
    "q4": lambda c: bond_order(c, [4], FIRST_SHELL)[:, 0],
    "q6": lambda c: bond_order(c, [6], FIRST_SHELL)[:, 0],
    "E_thermal": lambda c: required(c, "potential_energy_thermal").astype(np.float64),
    "E_IS": _energy,
    "E_IS around": _around(_energy),
    "length of u_IS": _length,
    "length of u_IS around": _around(_length),
}
"""Each a number for each particle, shape (N,). Energies in epsilon_AA, lengths in sigma_AA, the rest are counts or
dimensionless; "around" is the average over the neighborhood, the particle included."""


def described(configuration: Configuration, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Descriptors of each particle of a configuration.

    Parameters
    ----------
    configuration : with inherent positions and both energies, as far as the descriptors ask for them
    names : which of :data:`DESCRIPTORS`; all by default

    Returns
    -------
    name -> shape (N,)

    Raises
    ------
    ValueError
        If a name is unknown, or the configuration lacks a field.
    """
    wanted = list(DESCRIPTORS) if names is None else list(names)
    if unknown := [name for name in wanted if name not in DESCRIPTORS]:
        raise ValueError(f"descriptors {unknown}; expected some of {', '.join(DESCRIPTORS)}")
    return {name: DESCRIPTORS[name](configuration) for name in wanted}


@dataclass(frozen=True)
class Surrogate:
    """A linear model for each type and time.

    Parameters
    ----------
    names : of the descriptors, K of them
    weights : {"A": shape (T, K), "B": ...}, in units of the output per unit of the descriptor
    constants : {"A": shape (T,), "B": ...}
    spread : {"A": shape (K,), "B": ...}, standard deviation of each descriptor in the fit
    """

    names: tuple[str, ...]
    weights: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]

    def predict(self, table: Mapping[str, np.ndarray], types: np.ndarray) -> np.ndarray:
        """What the model says of particles with these descriptors, shape (T, N).

        Parameters
        ----------
        table : name -> shape (N,), as :func:`described` gives it; further names are not looked at
        types : shape (N,)

        Raises
        ------
        ValueError
            If a descriptor is missing.
        """
        x = _columns(table, self.names)
        found = np.full((len(self.constants[TYPE_NAMES[0]]), len(x)), np.nan)
        for kind, name in enumerate(TYPE_NAMES):
            at = types == kind
            found[:, at] = self.weights[name] @ x[at].T + self.constants[name][:, None]
        return found


def fit_surrogate(
    outputs: Sequence[np.ndarray],
    tables: Sequence[Mapping[str, np.ndarray]],
    types: Sequence[np.ndarray],
    names: Sequence[str] | None = None,
) -> Surrogate:
    """The linear model of some descriptors that is closest to what a network predicts, by least squares.

    Parameters
    ----------
    outputs : shape (T, N) for each configuration, predictions of the network
    tables : for each configuration, as :func:`described` gives it
    types : shape (N,) for each configuration
    names : which descriptors to use; by default all of the first table

    Raises
    ------
    ValueError
        If there is no configuration, numbers do not agree, or a descriptor is missing.
    """
    if not 0 < len(outputs) == len(tables) == len(types):
        raise ValueError(
            f"{len(outputs)} outputs, {len(tables)} tables, {len(types)} lists of types; expected one of each for each "
            "configuration"
        )
    chosen = tuple(tables[0]) if names is None else tuple(names)
    x = np.concatenate([_columns(table, chosen) for table in tables])
    y = np.concatenate([np.asarray(o, dtype=np.float64).T for o in outputs])
    kinds = np.concatenate([np.asarray(t) for t in types])
    if not len(x) == len(y) == len(kinds):
        raise ValueError(f"{len(y)} outputs, {len(x)} descriptions, {len(kinds)} types; expected as many of each")
    weights, constants, spread = {}, {}, {}
    for kind, name in enumerate(TYPE_NAMES):
        at = kinds == kind
        if not at.any():
            weights[name] = np.full((y.shape[1], len(chosen)), np.nan)
            constants[name], spread[name] = np.full(y.shape[1], np.nan), np.full(len(chosen), np.nan)
            continue
        weights[name] = ridge_path(x[at], y[at], [0.0])[0]
        constants[name] = y[at].mean(axis=0) - weights[name] @ x[at].mean(axis=0)
        spread[name] = x[at].std(axis=0)
    return Surrogate(chosen, weights, constants, spread)


def explained_part(
    outputs: Sequence[np.ndarray],
    approximations: Sequence[np.ndarray],
    configurations: Sequence[Configuration],
    *,
    draws: int = 300,
    per_edge: int = 2,
    seed: int = 0,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    r"""Part of the variance of a network's output that an approximation explains, with its error.

    .. math:: R^2 = 1 - \frac{\sum_i (y_i - \hat y_i)^2}{\sum_i (y_i - \bar y)^2}

    over all particles of a type. The error is the spread of R^2 over bootstrap samples of regions: cubes of each
    configuration are drawn with replacement, because neighbors are alike. Another training is not in it.

    Parameters
    ----------
    outputs, approximations : y and y hat, shape (T, N) for each configuration
    configurations : whose particles these are; best such that took no part in the fit
    draws, per_edge, seed : as in :func:`~glasslit.learning.evaluation.paired_gain`

    Returns
    -------
    {"A": (R^2, shape (T,); its standard error, shape (T,)), "B": ...}; nan where a type is absent or the output does
    not vary. R^2 is at most 1, and below 0 where the mean would have been closer. Where few regions differ much from
    all others, the error comes out too small.

    Raises
    ------
    ValueError
        If shapes do not agree.
    """
    shapes = [np.shape(o) for o in outputs], [np.shape(a) for a in approximations]
    if shapes[0] != shapes[1] or [s[-1] for s in shapes[0]] != [c.n_particles for c in configurations]:
        raise ValueError(
            f"outputs of shapes {shapes[0]}, approximations of shapes {shapes[1]}, "
            f"{[c.n_particles for c in configurations]} particles; expected (T, N) for each configuration"
        )
    blocks = np.concatenate([spatial_blocks(c, per_edge) + k * per_edge**3 for k, c in enumerate(configurations)])
    kinds = np.concatenate([c.types for c in configurations])
    y = np.concatenate([np.asarray(o, dtype=np.float64) for o in outputs], axis=1)
    rest = y - np.concatenate([np.asarray(a, dtype=np.float64) for a in approximations], axis=1)
    cubes, rng = per_edge**3, np.random.default_rng(seed)
    drawn = rng.multinomial(cubes, np.full(cubes, 1 / cubes), size=(draws, len(configurations)))
    times = np.concatenate([np.ones((1, len(configurations) * cubes)), drawn.reshape(draws, -1)])
    found = {}
    for kind, name in enumerate(TYPE_NAMES):
        at = kinds == kind
        if not at.any():
            found[name] = (np.full(len(y), np.nan), np.full(len(y), np.nan))
            continue
        z = y[:, at] - y[:, at].mean(axis=1, keepdims=True)  # so that sums of squares lose no digits
        terms = np.stack([np.ones_like(z), z, z * z, rest[:, at] ** 2])
        which = np.eye(times.shape[1])[blocks[at]]
        n, total, square, missed = np.einsum("mtb,db->mdt", terms @ which, times)
        with np.errstate(invalid="ignore", divide="ignore"):
            part = 1 - missed / (square - total**2 / n)
        found[name] = (part[0], part[1:].std(axis=0))
    return found


def _columns(table: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Shape (N, K)."""
    if missing := [name for name in names if name not in table]:
        raise ValueError(f"a table without {', '.join(missing)}; expected these descriptors: described() computes them")
    return np.column_stack([table[name] for name in names])
