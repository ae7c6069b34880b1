r"""The symmetries of a cube, their irreps, and which of them a crystal keeps.

A point-group element is an orthogonal matrix. The 48 of a cube, the group O_h, permute the three axes and reverse some
of them. An element is a symmetry of a crystal if, followed by some translation, it lays the crystal on itself; the
elements that do are the crystal's *stabilizer* in O_h. Not treated: elements outside of O_h, such as sixfold axes.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def octahedral_group() -> Floats:
    """The 48 symmetries of a cube as matrices, shape (48, 3, 3), the identity first.

    Examples
    --------
    >>> len(octahedral_group()), int((np.linalg.det(octahedral_group()) > 0).sum())
    (48, 24)
    """
    elements = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            elements.append(np.eye(3)[list(order)] * signs)
    return np.stack(elements)


def octahedral_characters(elements: ArrayLike) -> dict[str, Floats]:
    r"""Characters of the ten irreps of O_h, for elements of :func:`octahedral_group`.

    An element g permutes the axes by p and has a determinant. Vectors have the character tr g, pairs of numbers that
    only see the permutation have (number of fixed axes) - 1, and the signs of p and det g make the other irreps:

    .. math:: \chi_{T_{1u}} = \mathrm{tr}\, g, \quad \chi_{E_g} = \mathrm{tr}\, |g| - 1, \\
              \chi_{A_{2g}} = \mathrm{sgn}\, p, \quad \chi_{A_{1u}} = \det g

    Parameters
    ----------
    elements : shape (n, 3, 3), each with one entry of 1 or -1 in each row and column

    Returns
    -------
    name of the irrep -> shape (n,)

    Raises
    ------
    ValueError
        If a matrix is no symmetry of a cube.

    Examples
    --------
    >>> characters = octahedral_characters(octahedral_group())
    >>> {name: int(values[0]) for name, values in characters.items()}  # of the identity: the dimensions
    {'A1g': 1, 'A2g': 1, 'Eg': 2, 'T1g': 3, 'T2g': 3, 'A1u': 1, 'A2u': 1, 'Eu': 2, 'T1u': 3, 'T2u': 3}
    """
    g = np.asarray(elements, dtype=float)
    size = np.abs(g)
    if g.ndim != 3 or g.shape[1:] != (3, 3) or not np.isin(size, (0, 1)).all() or (size.sum(axis=(1, 2)) != 3).any():
        raise ValueError(f"elements have the shape {g.shape} or other entries than 0, 1, -1; expected those of a cube")
    permutation, determinant = np.linalg.det(size).round(), np.linalg.det(g).round()
    if (np.abs(permutation) != 1).any():
        raise ValueError("an element does not permute the axes; expected one entry of 1 or -1 in each row and column")
    vector, pair = np.trace(g, axis1=1, axis2=2), np.trace(size, axis1=1, axis2=2) - 1
    even = {
        "A1g": np.ones(len(g)),
        "A2g": permutation,
        "Eg": pair,
        "T1g": determinant * vector,
        "T2g": permutation * determinant * vector,
    }
    # Under the inversion, whose determinant is -1, an odd irrep changes its sign and an even one does not.
    return even | {name.replace("g", "u"): determinant * values for name, values in even.items()}


def times_kept(characters: dict[str, Floats], members: ArrayLike) -> dict[str, int]:
    r"""How many components of each irrep a subgroup H leaves as they are.

    .. math:: n_\rho(H) = \frac{1}{|H|} \sum_{h \in H} \chi_\rho(h)

    Parameters
    ----------
    characters : name -> shape (n,), real
    members : shape (n,), True for the elements of H

    Raises
    ------
    ValueError
        If a number is negative or not whole: then the members are no group.

    Examples
    --------
    >>> g = octahedral_group()
    >>> upright = g[:, 2, 2] == 1  # what keeps the z axis
    >>> {name: n for name, n in times_kept(octahedral_characters(g), upright).items() if n}
    {'A1g': 1, 'Eg': 1, 'T1u': 1}
    """
    chosen = np.asarray(members, dtype=bool)
    if not chosen.any():
        raise ValueError("there are no members; expected those of a group, which has the identity at least")
    found = {name: float(np.mean(values[chosen])) for name, values in characters.items()}
    if any(n < -1e-9 or abs(n - round(n)) > 1e-9 for n in found.values()):
        raise ValueError(f"the {int(chosen.sum())} members make no group: the irreps would be kept {found} times")
    return {name: round(n) for name, n in found.items()}


def irrep_content(weights: ArrayLike, elements: ArrayLike, characters: dict[str, Floats]) -> dict[str, float]:
    r"""How much of each irrep a function on a group contains.

    .. math:: |P_\rho w|, \\ (P_\rho w)(g) = \frac{d_\rho}{m_\rho |G|} \sum_{h} \chi_\rho(g^{-1} h)\, w(h), \\
              m_\rho = \frac{1}{|G|} \sum_g \chi_\rho(g)^2

    Irreps are over the real numbers: as many independent matrices as m say commute with them, one in each irrep of the
    cube, and two in the irrep E of the four turns of the plane.

    Parameters
    ----------
    weights : shape (n,), one for each element
    elements : shape (n, d, d), orthogonal matrices that make a group, the identity first
    characters : name of an irrep -> shape (n,), real

    Returns
    -------
    name -> length of that part. The squares sum to that of the weights.

    Raises
    ------
    ValueError
        If the elements make no group, or there are more or fewer weights.

    Examples
    --------
    >>> g = octahedral_group()
    >>> found = irrep_content(g[:, 2, 2], g, octahedral_characters(g))  # where the z axis goes, seen along z
    >>> {name: round(size, 6) for name, size in found.items() if size > 1e-9}
    {'T1u': 4.0}
    """
    g, w = np.asarray(elements, dtype=float), np.asarray(weights, dtype=float)
    if w.shape != (len(g),):
        raise ValueError(f"weights have the shape {w.shape}; expected ({len(g)},), one for each element")
    number = {tuple(np.round(element, 6).ravel() + 0.0): k for k, element in enumerate(g)}
    products = np.einsum("aji,bjk->abik", g, g)  # of the inverse of one with another
    try:
        between = np.array([[number[tuple(np.round(p, 6).ravel() + 0.0)] for p in row] for row in products])
    except KeyError:
        raise ValueError(f"the {len(g)} elements make no group: products of them are not among them") from None
    return {
        name: float(np.linalg.norm(values[0] / (values @ values) * values[between] @ w))
        for name, values in characters.items()
    }


def stabilizer(
    elements: ArrayLike, lattice: ArrayLike, positions: ArrayLike, species: ArrayLike, tolerance: float = 1e-3
) -> NDArray[np.bool_]:
    """Which elements, followed by some translation, lay a crystal on itself.

    Parameters
    ----------
    elements : shape (n, 3, 3), orthogonal, in the same Cartesian axes as the lattice
    lattice : shape (3, 3), a lattice vector in each row, in any unit of length; those of a primitive cell
    positions : shape (atoms, 3), in units of the lattice vectors
    species : shape (atoms,), which atoms are alike
    tolerance : how far an atom may lie from where it should, in the unit of the lattice

    Returns
    -------
    shape (n,)

    Raises
    ------
    ValueError
        If shapes do not fit, or lattice vectors lie in a plane.
    """
    g, cell, x = (np.asarray(v, dtype=float) for v in (elements, lattice, positions))
    kinds = np.asarray(species)
    if g.shape[1:] != (3, 3) or cell.shape != (3, 3) or x.shape != (len(kinds), 3):
        shapes = f"{g.shape}, {cell.shape}, {x.shape}, {kinds.shape}"
        raise ValueError(f"shapes are {shapes}; expected (n, 3, 3), (3, 3), (atoms, 3), (atoms,)")
    if abs(np.linalg.det(cell)) < tolerance**3:
        raise ValueError("the lattice vectors span no volume; expected three vectors that do not lie in a plane")
    names, counts = np.unique(kinds, return_counts=True)
    rarest = np.flatnonzero(kinds == names[counts.argmin()])  # the fewest translations to try
    to_lattice = np.linalg.inv(cell)

    def away(shift: Floats) -> Floats:
        """Distance from the nearest lattice vector, of vectors in units of the lattice."""
        return np.linalg.norm((shift - shift.round()) @ cell, axis=-1)

    def lies_on_itself(element: Floats) -> bool:
        turn = cell @ element.T @ to_lattice
        if away(turn).max() > tolerance:
            return False
        moved = x @ turn
        for target in rarest:
            shifted = moved + x[target] - moved[rarest[0]]
            off = np.where(kinds[:, None] == kinds, away(shifted[:, None] - x), np.inf)
            if off.min(axis=1).max() <= tolerance:
                return True
        return False

    return np.array([lies_on_itself(element) for element in g])
