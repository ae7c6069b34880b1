r"""Strained liquids: a box with other edges, and the same liquid in coordinates that do not show it.

Boxes stay orthorhombic, so strains have their principal axes along the edges. Strains are given as stretches, the
factors by which lengths along x, y and z grow; their logarithms are the diagonal of Hencky's strain tensor, which is
traceless where the volume does not change. Nothing here moves particles against each other: a strained liquid has to be
relaxed, or run, by :mod:`glasslit.simulate`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .configuration import Configuration

AXES = ("x", "y", "z")


def uniaxial(strain: float, axis: str = "z") -> np.ndarray:
    r"""Stretches of a uniaxial strain that conserves the volume.

    .. math:: \lambda_\parallel = 1 + \epsilon, \\ \lambda_\perp = (1 + \epsilon)^{-1/2}

    Parameters
    ----------
    strain : relative change of length along the axis, dimensionless, above -1
    axis : "x", "y" or "z"

    Returns
    -------
    shape (3,), dimensionless

    Raises
    ------
    ValueError
        If the strain is -1 or below, or the axis is none of the three.

    Examples
    --------
    >>> uniaxial(0.21, "x").round(4)
    array([1.21  , 0.9091, 0.9091])
    """
    stretches = np.full(3, _factor(strain) ** -0.5)
    stretches[_number(axis)] = 1 + strain
    return stretches


def pure_shear(strain: float, longer: str = "x", shorter: str = "y") -> np.ndarray:
    r"""Stretches of a pure shear: one axis grows, another shrinks, and the third stays.

    .. math:: \lambda_1 = 1 + \epsilon, \\ \lambda_2 = (1 + \epsilon)^{-1}

    Parameters
    ----------
    strain : relative change of length along the first axis, dimensionless, above -1
    longer, shorter : two different ones of "x", "y" and "z"

    Returns
    -------
    shape (3,), dimensionless

    Raises
    ------
    ValueError
        If the strain is -1 or below, or the axes are not two different ones of the three.

    Examples
    --------
    >>> pure_shear(0.25, "x", "z")
    array([1.25, 1.  , 0.8 ])
    """
    if longer == shorter:
        raise ValueError(f"a pure shear of {longer!r} against itself; expected two different axes, e.g. 'x' and 'y'")
    stretches = np.ones(3)
    stretches[_number(longer)], stretches[_number(shorter)] = _factor(strain), 1 / _factor(strain)
    return stretches


def strain_tensor(stretches: ArrayLike) -> np.ndarray:
    """Hencky's strain tensor of stretches along the axes, shape (3, 3): their logarithms on its diagonal.

    Examples
    --------
    >>> float(np.trace(strain_tensor(uniaxial(0.03))).round(12))
    0.0
    """
    return np.diag(np.log(_checked(stretches)))


def stretch(configuration: Configuration, stretches: ArrayLike) -> Configuration:
    """The liquid in a strained box, with all positions moved in proportion.

    Parameters
    ----------
    configuration : where to start
    stretches : shape (3,), factors of lengths along x, y and z

    Returns
    -------
    A new configuration with positions, types, box, temperature, potential, split, ids and name. Energies, labels and
    the inherent structure do not survive a strain.

    Raises
    ------
    ValueError
        If the stretches are not three positive numbers.
    """
    c, factors = configuration, _checked(stretches)
    return Configuration(
        positions=c.positions * factors,
        types=c.types,
        box=c.box * factors,
        temperature=c.temperature,
        potential=c.potential,
        split=c.split,
        ids=c.ids,
        name=c.name,
    )


def seen_in(configuration: Configuration, box: ArrayLike) -> Configuration:
    """The liquid in coordinates in which its box has other edges; energies stay those of the liquid as it is.

    Whoever is given the result cannot tell from its box that the liquid is strained.

    Parameters
    ----------
    configuration : the liquid as it is
    box : shape (3,), the edges that it shall seem to have, sigma_AA

    Returns
    -------
    A new configuration; labels of motion, which are lengths, are dropped.

    Raises
    ------
    ValueError
        If the edges are not three positive numbers.
    """
    c = configuration
    factors = _checked(np.asarray(box, dtype=np.float64) / c.box)
    return stretch(c, factors).replace(
        potential_energy_thermal=c.potential_energy_thermal, potential_energy_inherent=c.potential_energy_inherent
    )


def _factor(strain: float) -> float:
    if not strain > -1:
        raise ValueError(f"a strain of {strain}; expected a number above -1, such as 0.03 for three per cent")
    return 1 + strain


def _number(axis: str) -> int:
    if axis not in AXES:
        raise ValueError(f"axis {axis!r}; expected one of {', '.join(AXES)}")
    return AXES.index(axis)


def _checked(stretches: ArrayLike) -> np.ndarray:
    factors = np.asarray(stretches, dtype=np.float64)
    if factors.shape != (3,) or not np.all(np.isfinite(factors) & (factors > 0)):
        raise ValueError(f"stretches {factors.tolist()}; expected three positive numbers, one for each of x, y and z")
    return factors
