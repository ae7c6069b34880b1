r"""A crystal to break the symmetry of: the perovskite ABX3, with octahedra that are tilted in Glazer's patterns.

A cube of 2 x 2 x 2 cells with the edge 1 holds 8 octahedra BX6, which share their corners. If one octahedron turns, its
neighbors across the axis must turn the other way. Along the axis they may turn the same way (Glazer's superscript +)
or the other way (-), so that the axis of rotation of the octahedron at (x, y, z) is

.. math:: \omega_e(x, y, z) = \omega_e\, (-1)^{\sum_{f \ne e} f}\; s_e^{\,e}, \\ e, f \in \{x, y, z\},

where s_e = 1 for the superscript + and -1 for -.

Source: Glazer, Acta Cryst. B 28, 3384 (1972). The 15 space groups: Howard and Stokes, Acta Cryst. B 54, 782 (1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

KINDS = {"A": 0, "B": 1, "X": 2}
"""Kinds of atoms by name: B in the middle of the octahedra, X on their corners, A between them."""


@dataclass(frozen=True)
class Perovskite:
    """The atoms of a cubic perovskite, and where tilted octahedra move them.

    Parameters
    ----------
    positions : shape (40, 3), in edges of the cubic cell: the cubic structure
    kinds : shape (40,), 0 for A, 1 for B, 2 for X
    displacements : shape (40, 3), in edges of the cubic cell
    rotations : shape (8, 3), radians: the axis of each octahedron, times its angle, in the order of the B atoms
    box : shape (3,), edges of the periodic box
    """

    positions: np.ndarray
    kinds: np.ndarray
    displacements: np.ndarray
    rotations: np.ndarray
    box: np.ndarray

    def cell(self, displacements: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lattice (3, 3), fractional coordinates (40, 3) and kinds (40,): what spglib and others take.

        Parameters
        ----------
        displacements : shape (40, 3), others than those of the tilts, such as a network's
        """
        moved = self.positions + (self.displacements if displacements is None else displacements)
        return np.diag(self.box), moved / self.box, self.kinds


def tilted_perovskite(angles: Sequence[float], signs: str, exact: bool = False) -> Perovskite:
    """Tilt the octahedra of a cubic perovskite by angles about x, y and z.

    The cell stays the cube. By default X moves across its bonds by the tangent of the angle, to first order in the
    tilts: for one axis that is a rotation with a slight stretching. With ``exact``, each octahedron is turned as a
    rigid body, and X lies halfway between the places where its two octahedra would have it.

    Parameters
    ----------
    angles : shape (3,), degrees, about x, y and z; 0 for no tilt
    signs : Glazer's superscripts for x, y and z, each "+" or "-", e.g. "-+-" for a-b+a-
    exact : whether terms of higher order in the angles are kept

    Returns
    -------
    40 atoms: 8 of A, 8 of B, 24 of X

    Raises
    ------
    ValueError
        For other signs, or angles that are not three, or not below 45 degrees.

    Examples
    --------
    >>> crystal = tilted_perovskite((8, 8, 8), "-+-")
    >>> float(np.abs(crystal.displacements[crystal.kinds < 2]).max())  # only X moves
    0.0
    """
    turns = np.asarray(angles, dtype=float)
    if turns.shape != (3,) or not (np.abs(turns) < 45).all():
        raise ValueError(f"angles={angles}; expected three angles in degrees, each below 45, e.g. (8, 8, 8)")
    if len(signs) != 3 or set(signs) - set("+-"):
        raise ValueError(f"signs={signs!r}; expected three of + and -, for x, y and z, e.g. '-+-' for a-b+a-")
    sites = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    odd = np.empty((8, 3), dtype=int)
    for axis, sign in enumerate(signs):
        counted = [a for a in range(3) if a != axis or sign == "-"]
        odd[:, axis] = sites[:, counted].sum(axis=1) % 2
    rotations = np.deg2rad(turns) * (1 - 2 * odd)
    bonds = np.repeat(np.eye(3)[None], 8, axis=0) / 2  # (B atom, axis, components)
    if exact:
        turned = np.einsum("nij,nej->nei", Rotation.from_rotvec(rotations).as_matrix(), bonds)
    else:
        turned = bonds + np.cross(np.tan(rotations)[:, None], bonds)
    number = {tuple(site): k for k, site in enumerate(sites)}
    corners, moved = [], []
    for k, site in enumerate(sites):
        for axis in range(3):
            neighbor = number[tuple((site + np.eye(3, dtype=int)[axis]) % 2)]
            corners.append(site + bonds[k, axis])
            moved.append((turned[k, axis] - turned[neighbor, axis]) / 2)
    return Perovskite(
        positions=np.concatenate([sites + 0.5, sites, corners]),
        kinds=np.repeat([0, 1, 2], [8, 8, 24]),
        displacements=np.concatenate([np.zeros((16, 3)), moved]),
        rotations=rotations,
        box=np.full(3, 2.0),
    )
